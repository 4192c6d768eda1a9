//! What h2 makes of requests that were mended, and that nothing else changes. The bytes are of grpc-go's own encoder.

use http::Uri;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

/// Before the authority: POST, http and `/v1beta1.DeviceManagerService/MapperRegister`.
const BEFORE: &str = "838645a063b8632a4615ef97b9885d03a87316cdc5b3b98856340ebacb66d2cc6424b67f";
/// `:authority: /etc/kubeedge/dmi.sock`, and as newer versions have it; a third that is one.
const PLAIN: &str = "419060a9231d6d8ca59262b125265d07275f";
const ESCAPED: &str = "419454584a922a2c3d6d8ca59262aa2c325265d07275";
const LOCALHOST: &str = "4186a0e41d139d09";
/// After it: the type, the user agent and `te`.
const AFTER: &str = "5f8b1d75d0620d263d4c4d65647a8b9acac8b4c7602bb2caecff40027465864d833505b11f";
/// The next request, `ReportDeviceStatus`: all but the path by its place in the table that the first has filled.
const NEXT: &str = "838645a263b8632a4615ef97b9885d03a87316cdc5b3b988563696b3d89be5ee621772469b51c2c1c0bf";

fn bytes(digits: &[&str]) -> Vec<u8> {
    hex::decode(digits.concat()).unwrap()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A connection with the settings, a call with these fields, its message, and a second call.
fn calls(flags: u8, fields: &[u8]) -> Vec<u8> {
    [
        PREFACE.to_vec(),
        frame(4, 0, 0, &[]),
        frame(HEADERS, 0x4 | flags, 1, fields),
        frame(0, 0x1, 1, b":authority/%"),
        frame(HEADERS, 0x5, 3, &bytes(&[NEXT])),
    ]
    .concat()
}

/// Through a mender, in pieces of this size.
fn mended(sent: &[u8], piece: usize) -> Vec<u8> {
    let (mut mender, mut passed, mut came) = (Mender::default(), Vec::new(), Vec::new());
    for piece in sent.chunks(piece) {
        came.extend_from_slice(piece);
        let done = mender.mend(&mut came);
        assert!(came.len() - done < HEAD + LONGEST, "{} are held back", came.len() - done);
        passed.extend(came.drain(..done));
    }
    passed.extend(came);
    passed
}

/// What the two calls of a connection are for h2.
async fn taken(sent: &[u8]) -> [Uri; 2] {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(sent).await.unwrap();
    let mut connection = h2::server::handshake(server).await.unwrap();
    let mut call = async || {
        let (request, _answer) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["user-agent"], "grpc-go/1.33.3");
        request.into_parts().0.uri
    };
    [call().await, call().await]
}

#[tokio::test]
async fn a_socket_for_an_authority_becomes_one_and_later_calls_may_refer_to_it() {
    for (authority, becomes) in [
        (PLAIN, ".etc.kubeedge.dmi.sock"),
        (ESCAPED, "-2Fetc-2Fkubeedge-2Fdmi.sock"),
        (LOCALHOST, "localhost"),
        // Without the Huffman code; with the name spelled out, plain and coded.
        ("41072f612f25622f63", ".a.-b.c"),
        ("400a3a617574686f72697479072f612f25622f63", ".a.-b.c"),
        ("4088b83b5339ec327d7f072f612f25622f63", ".a.-b.c"),
    ] {
        let fields = bytes(&[BEFORE, authority, AFTER]);
        let padded = [&[3], &*fields, b"%//"].concat();
        let weighed = [&[0, 0, 0, 0, 16], &*fields].concat();
        for (flags, fields) in [(0, fields), (PADDED, padded), (PRIORITY, weighed)] {
            let sent = calls(flags, &fields);
            for piece in [1, 2, 7, 100, sent.len()] {
                let [first, second] = taken(&mended(&sent, piece)).await;
                assert_eq!(first.authority().unwrap(), becomes);
                assert_eq!(first.path(), "/v1beta1.DeviceManagerService/MapperRegister");
                assert_eq!(second.authority().unwrap(), becomes);
                assert_eq!(second.path(), "/v1beta1.DeviceManagerService/ReportDeviceStatus");
            }
        }
    }
}

#[test]
fn only_the_authority_changes() {
    let sent = calls(0, &bytes(&[BEFORE, PLAIN, AFTER]));
    let changed: Vec<_> = sent
        .iter()
        .zip(mended(&sent, 5))
        .enumerate()
        .filter(|(_, (a, b))| **a != *b)
        .map(|(at, _)| at)
        .collect();
    let start = sent.windows(2).position(|two| two == [0x41, 0x90]).unwrap();
    assert!(
        !changed.is_empty() && changed.iter().all(|at| (start + 2..start + 18).contains(at)),
        "{changed:?}"
    );
    let valid = calls(0, &bytes(&[BEFORE, LOCALHOST, AFTER]));
    assert_eq!(mended(&valid, 5), valid);
}

/// `0/%a//-%%_/A%X/!%'/#%$/^%<//s`: between codes of every length that paths have.
#[test]
fn characters_are_exchanged_between_codes_of_any_length() {
    let mut coded = bytes(&["030a8d8616555898855fc63f857fd31ff4affe58fff15fff8c308f"]);
    mend_coded(&mut coded);
    assert_eq!(coded, bytes(&["02eb0d75d6596897856fc5ff85bfd2fff4b7fe57fff16fff8bae8f"]));
}

proptest! {
    #[test]
    fn whatever_comes_in_whatever_pieces_is_passed_on_as_long_as_it_was(
        fields in proptest::collection::vec(any::<u8>(), 0..300),
        flags in any::<u8>(),
        behind in proptest::collection::vec(any::<u8>(), 0..300),
        piece in 1_usize..400,
    ) {
        let sent = [calls(flags, &fields), behind].concat();
        let whole = mended(&sent, sent.len());
        prop_assert_eq!(whole.len(), sent.len());
        prop_assert_eq!(mended(&sent, piece), whole);
    }

    #[test]
    fn what_is_no_http2_passes_as_it_is(sent in proptest::collection::vec(any::<u8>(), 1..300), piece in 1_usize..400) {
        prop_assert_eq!(mended(&sent, piece), sent);
    }
}
