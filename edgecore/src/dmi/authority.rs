//! What Go's programs call a server on a unix socket, made into something that the server takes. Pure.
//!
//! grpc-go puts the target that it dials into `:authority`. Mappers of KubeEdge's framework dial the path of the socket, so it is
//! `/etc/kubeedge/dmi.sock`, with newer versions of grpc-go `%2Fetc%2Fkubeedge%2Fdmi.sock`; gRPC for C++ and Python sends the
//! latter too. No authority looks so, and the server's HTTP/2, h2, resets each such request with PROTOCOL_ERROR and cannot be told
//! otherwise (hyperium/h2#487 is open since 2020). What h2 would do with it matters to nobody here. So what comes from a mapper is
//! looked through before h2 has it, and in the value of `:authority` each `/` becomes `.` and each `%` becomes `-`.
//!
//! That needs nothing of the compression's state: an entry of its dynamic table stays as large as the client thinks, so what later
//! requests say of the table stays right. In the Huffman code of HPACK (RFC 7541) all four characters have six bits, so nothing
//! changes its length on the wire either. All else passes as it came, and what is not understood too: h2 judges it.

use std::ops::Range;

/// How a client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame's own header.
const HEAD: usize = 9;
/// The longest frame that h2 takes.
const LONGEST: usize = 16_384;
/// A frame of headers, and what of it changes where they lie.
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The name, as itself, by Huffman's code, and in the static table.
const NAME: &[u8] = b":authority";
const NAME_CODED: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
const NAME_INDEX: usize = 1;
/// Of the Huffman code, which is in the order of its lengths: below which sixteen bits a code has which length. The characters
/// with longer ones are not of paths.
const LENGTHS: [(u16, usize); 10] = [
    (0x5000, 5),
    (0xb800, 6),
    (0xf800, 7),
    (0xfe00, 8),
    (0xff40, 10),
    (0xffa0, 11),
    (0xffc0, 12),
    (0xfff0, 13),
    (0xfff8, 14),
    (0xfffe, 15),
];
/// The codes of what is exchanged, and what makes of each the code of what it becomes.
const CODED: [(u16, u16); 2] = [(0b01_1000, 0b01_1000 ^ 0b01_0111), (0b01_0101, 0b01_0101 ^ 0b01_0110)];

/// Follows one connection.
#[derive(Debug, Default)]
pub(super) struct Mender {
    place: Place,
}

#[derive(Debug, Default)]
enum Place {
    /// Nothing has passed yet.
    #[default]
    Preface,
    /// Between two frames.
    Between,
    /// In a frame that is not looked at; so many bytes of it are still to come.
    Within(usize),
    /// It does not speak HTTP/2.
    Foreign,
}

// === impl Mender ===

impl Mender {
    /// Mends what has come and not been passed on yet. How many bytes of it may be now: those behind are the beginning of
    /// something that must be seen whole, and are at most [`LONGEST`] and a frame's header.
    pub(super) fn mend(&mut self, came: &mut [u8]) -> usize {
        let mut done = 0;
        loop {
            let rest = &mut came[done..];
            match self.place {
                Place::Foreign => return came.len(),
                Place::Preface => {
                    let begun = rest.len().min(PREFACE.len());
                    if rest[..begun] != PREFACE[..begun] {
                        self.place = Place::Foreign;
                    } else if begun < PREFACE.len() {
                        return done;
                    } else {
                        self.place = Place::Between;
                        done += begun;
                    }
                }
                Place::Within(left) => {
                    let here = left.min(rest.len());
                    done += here;
                    if here < left {
                        self.place = Place::Within(left - here);
                        return done;
                    }
                    self.place = Place::Between;
                }
                Place::Between => {
                    let Some(&[a, b, c, kind, flags, ..]) = rest.first_chunk::<HEAD>() else { return done };
                    let whole = HEAD + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
                    if kind != HEADERS || whole > HEAD + LONGEST {
                        self.place = Place::Within(whole);
                        continue;
                    }
                    let Some(frame) = rest.get_mut(HEAD..whole) else { return done };
                    mend_headers(flags, frame);
                    done += whole;
                }
            }
        }
    }
}

/// Mends the authority of a request, if one is in the frame. None says where it is not understood.
fn mend_headers(flags: u8, frame: &mut [u8]) -> Option<()> {
    let (mut start, mut end) = (0, frame.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*frame.first()?))?;
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    let fields = frame.get_mut(start..end)?;
    let at = &mut 0;
    loop {
        let name = match *fields.get(*at)? {
            // A field out of a table, and the table's size.
            0x80.. => integer(fields, at, 7).map(|_| None)?,
            0x20..=0x3f => integer(fields, at, 5).map(|_| None)?,
            // A field with a value; how it is to be kept does not matter.
            0x40..=0x7f => Some(integer(fields, at, 6)?),
            _ => Some(integer(fields, at, 4)?),
        };
        let Some(name) = name else { continue };
        let found = if name == 0 {
            let (coded, place) = text(fields, at)?;
            fields.get(place)? == if coded { NAME_CODED } else { NAME }
        } else {
            name == NAME_INDEX
        };
        let (coded, place) = text(fields, at)?;
        let value = fields.get_mut(place)?;
        match (found, coded) {
            (false, _) => {}
            (true, false) => {
                mend_plain(value);
                return Some(());
            }
            (true, true) => return mend_coded(value),
        }
    }
}

fn mend_plain(value: &mut [u8]) {
    for byte in value {
        match *byte {
            b'/' => *byte = b'.',
            b'%' => *byte = b'-',
            _ => {}
        }
    }
}

fn mend_coded(value: &mut [u8]) -> Option<()> {
    let mut bit = 0;
    while bit < value.len() * 8 {
        // Behind the end there is only what a code is filled up with.
        let byte = |further: usize| u32::from(value.get(bit / 8 + further).copied().unwrap_or(0xff));
        let window = byte(0) << 16 | byte(1) << 8 | byte(2);
        let [.., high, low] = (window >> (8 - bit % 8)).to_be_bytes();
        let code = u16::from_be_bytes([high, low]);
        let &(_, length) = LENGTHS.iter().find(|(limit, _)| code < *limit)?;
        if bit + length > value.len() * 8 {
            return None;
        }
        if let Some((_, change)) = CODED.iter().find(|(six, _)| length == 6 && code >> 10 == *six) {
            let [first, second] = (change << 10 >> (bit % 8)).to_be_bytes();
            value[bit / 8] ^= first;
            if let Some(next) = value.get_mut(bit / 8 + 1) {
                *next ^= second;
            }
        }
        bit += length;
    }
    Some(())
}

/// An integer whose first byte has so many bits of it.
fn integer(fields: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let mut next = || {
        let byte = usize::from(*fields.get(*at)?);
        *at += 1;
        Some(byte)
    };
    let most = (1 << bits) - 1;
    let mut value = next()? & most;
    if value < most {
        return Some(value);
    }
    // Longer than a frame can be is not understood.
    for shift in [0, 7, 14] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Whether a text is coded, and where it lies.
fn text(fields: &[u8], at: &mut usize) -> Option<(bool, Range<usize>)> {
    let coded = *fields.get(*at)? >= 0x80;
    let length = integer(fields, at, 7)?;
    let start = *at;
    *at += length;
    Some((coded, start..*at))
}

#[cfg(test)]
mod tests;
