"""A boiler that speaks Modbus: whoever writes its set point into holding register 10 heats it to that.

Input register 4 is its temperature in tenths of a degree, coil 0 says whether it burns. Usage: boiler.py PORT, for TCP;
boiler.py LINK, for RTU on a serial line, one end of which the path LINK becomes.
"""

import asyncio
import os
import sys
import termios
import threading
import tty

from pymodbus import FramerType
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

READ_INPUT = 4
WRITE = (6, 16)
temperature = 200


async def heat(function_code, start_address, address, count, current_registers, set_values):
    """Before every request."""
    global temperature
    if function_code in WRITE and set_values and address <= 10 < address + count:
        temperature = set_values[10 - address] * 10
    if function_code == READ_INPUT:
        current_registers[4 - start_address] = temperature
    return None


def bits(first):
    return [SimData(0, values=[first] + [False] * 15, datatype=DataType.BITS)]


def registers():
    return [SimData(0, values=[0] * 16, datatype=DataType.REGISTERS)]


def line(link):
    """A serial line of two pseudo terminals. `link` becomes one end, the path of the other is returned."""
    ends = []
    for _ in range(2):
        master, end = os.openpty()
        tty.setraw(end, termios.TCSANOW)
        ends.append((master, end))

    def carry(source, target):
        while True:
            os.write(target, os.read(source, 256))

    for one, other in (ends, reversed(ends)):
        threading.Thread(target=carry, args=(one[0], other[0]), daemon=True).start()
    if os.path.lexists(link):
        os.remove(link)
    os.symlink(os.ttyname(ends[0][1]), link)
    return os.ttyname(ends[1][1])


async def main():
    boiler = SimDevice(1, simdata=(bits(True), bits(False), registers(), registers()), action=heat)
    if sys.argv[1].isdigit():
        await StartAsyncTcpServer(context=boiler, address=("127.0.0.1", int(sys.argv[1])))
    else:
        end = line(sys.argv[1])
        await StartAsyncSerialServer(context=boiler, framer=FramerType.RTU, port=end, baudrate=19200)


asyncio.run(main())
