"""A boiler that speaks Modbus TCP: whoever writes its set point into holding register 10 heats it to that.

Input register 4 is its temperature in tenths of a degree, coil 0 says whether it burns. Usage: boiler.py PORT
"""

import asyncio
import sys

from pymodbus.server import StartAsyncTcpServer
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


async def main():
    boiler = SimDevice(1, simdata=(bits(True), bits(False), registers(), registers()), action=heat)
    await StartAsyncTcpServer(context=boiler, address=("127.0.0.1", int(sys.argv[1])))


asyncio.run(main())
