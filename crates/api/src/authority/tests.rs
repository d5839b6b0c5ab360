//! What clients send, and what is read of it.

use super::*;

/// Recorded from a library for HPACK.
const CODED: [(&str, &str); 3] = [
    ("http://127.0.0.1:11663", "9d29aee30c044eae05c0b86e042e38cf"),
    ("https://etcd-0.example.com:2379", "9d29ad171860a9248b0172f91d35d055c87a6e09975f"),
    ("http://[::1]:2379", "9d29aee30c7feee5c0fff2e09975ff"),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    frame.extend_from_slice(payload);
    frame
}

/// `:method POST`, `:path /a`, then the authority, then one more.
fn block(authority: &[u8], is_coded: bool) -> Vec<u8> {
    let mut block = vec![0x83, 0x44, 2, b'/', b'a', 0x41];
    block.push(u8::try_from(authority.len()).unwrap() | if is_coded { 0x80 } else { 0 });
    block.extend_from_slice(authority);
    block.extend_from_slice(&[0x40, 2, b't', b'e', 1, b'x']);
    block
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// All at once, and byte by byte.
#[track_caller]
fn check(sent: &[u8], expected: &[u8]) {
    let sent = [PREFACE, sent].concat();
    let expected = [PREFACE, expected].concat();
    let (mut at_once, mut in_bytes) = (BytesMut::new(), BytesMut::new());
    Authorities::new(false).pass(&sent, &mut at_once, |_| {});
    let mut authorities = Authorities::new(false);
    for byte in &sent {
        authorities.pass(&[*byte], &mut in_bytes, |_| {});
    }
    assert_eq!(at_once, expected);
    assert_eq!(in_bytes, expected);
}

#[test]
fn strings_are_decoded_as_they_were_coded() {
    for (text, coded) in CODED {
        assert_eq!(huffman::decode(&bytes(coded)).unwrap(), text.as_bytes());
        assert!(bytes(coded).starts_with(huffman::HTTP));
    }
    // A letter that stands in no URL; and ones that are too many.
    assert_eq!(huffman::decode(&bytes("ffcf")), None);
    assert_eq!(huffman::decode(&bytes("9d29ffffff")), None);
}

#[test]
fn a_scheme_before_the_authority_is_left_out() {
    for (text, coded) in CODED {
        let host = text.split_once("://").unwrap().1;
        let expected = frame(HEADERS, 4, &block(host.as_bytes(), false));
        check(&frame(HEADERS, 4, &block(&bytes(coded), true)), &expected);
        check(&frame(HEADERS, 4, &block(text.as_bytes(), false)), &expected);
    }
}

#[test]
fn padding_and_priority_are_kept() {
    let payload = |text: &[u8], pad: usize| {
        let padding = vec![0; pad];
        let head = [u8::try_from(pad).unwrap(), 0, 0, 0, 0, 16];
        [&head[..], &block(text, false), &padding].concat()
    };
    let sent = frame(HEADERS, 4 | PADDED | PRIORITY, &payload(b"http://a:1", 7));
    check(&sent, &frame(HEADERS, 4 | PADDED | PRIORITY, &payload(b"a:1", 7)));
}

#[test]
fn all_else_goes_through_as_it_is() {
    let large = vec![0x41; 40_000];
    let frames = [
        frame(4, 0, &[0, 3, 0, 0, 0, 100]),
        frame(HEADERS, 4, &block(b"127.0.0.1:2379", false)),
        frame(0, 0, b"http://in-a-message"),
        frame(6, 0, &[0; 8]),
        frame(4, 1, &[]),
        frame(HEADERS, 4, &[0x82, 0xbe, 0x86]),
        frame(0, 1, &large),
        // Broken ones are refused elsewhere.
        frame(HEADERS, 4, &[0x41, 0x7f]),
        frame(HEADERS, 4, &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff]),
        frame(HEADERS, 4 | PADDED, &[200, 0x82]),
        frame(HEADERS, 4, &[]),
        frame(HEADERS, 4, &vec![0x82; 17 << 10]),
        frame(HEADERS, 5, &block(b"member", false)),
    ]
    .concat();
    check(&frames, &frames);
}

#[test]
fn a_long_authority_keeps_its_length() {
    for length in [100, 126, 127, 128, 254, 255, 256, 1_000] {
        let host = "h".repeat(length);
        let block = |text: &str| {
            let mut block = BytesMut::from(&[0x83, 0x41][..]);
            put_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
            block.to_vec()
        };
        let sent = frame(HEADERS, 4, &block(&format!("http://{host}")));
        check(&sent, &frame(HEADERS, 4, &block(&host)));
    }
}

#[test]
fn at_a_file_nobody_is_called_by_its_path() {
    let check = |authority: &[u8], is_coded: bool, expected: &[u8]| {
        let sent = [PREFACE, &frame(HEADERS, 4, &block(authority, is_coded))].concat();
        let expected = [PREFACE, &frame(HEADERS, 4, &block(expected, false))].concat();
        let mut read = BytesMut::new();
        Authorities::new(true).pass(&sent, &mut read, |_| {});
        assert_eq!(read, expected, "{authority:?}");
    };
    check(b"/run/etcd.sock", false, b"localhost");
    check(b"unix:///run/etcd.sock", false, b"localhost");
    check(b"%2Frun%2Fetcd.sock", false, b"localhost");
    check(b"localhost", false, b"localhost");
    // Never longer than what came: the table of those who sent it has no room for more.
    check(b"/a", false, b"lo");
    // `/run/etcd.sock`, coded; its letters are not looked at.
    check(&bytes("63b16a50b12c84a2e4475f"), true, b"loc");
}
