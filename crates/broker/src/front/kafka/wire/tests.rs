//! Both encodings, and what a stranger may write into a length.

use bytes::Bytes;

use super::*;

fn reader(bytes: &[u8], is_flexible: bool) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes), is_flexible)
}

fn written(is_flexible: bool, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(is_flexible);
    write(&mut writer);
    writer.into_pieces().concat()
}

#[test]
fn what_is_written_is_read_again_in_both_encodings() {
    for is_flexible in [false, true] {
        let bytes = written(is_flexible, |w| {
            w.i8(-1);
            w.i64(i64::MIN);
            w.text("orders");
            w.nullable_text(None);
            w.slices(vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
            w.array([1, 2, 3], Writer::i32);
            w.text(&"x".repeat(300));
            w.tags();
        });
        let mut r = reader(&bytes, is_flexible);
        assert_eq!((r.i8().unwrap(), r.i64().unwrap()), (-1, i64::MIN));
        assert_eq!((r.text().unwrap().as_str(), r.nullable_text().unwrap()), ("orders", None));
        assert_eq!(r.bytes().unwrap(), "onetwo");
        assert_eq!(r.array(Reader::i32).unwrap(), [1, 2, 3]);
        assert_eq!(r.text().unwrap().len(), 300);
        r.tags().unwrap();
        assert_eq!(r.i8(), Err(Malformed::Truncated), "nothing is left");
    }
}

#[test]
fn lengths_are_held_against_what_is_left() {
    for length in [-2, i32::MIN, 5, i32::MAX] {
        let bytes = [&length.to_be_bytes()[..], b"four"].concat();
        assert!(reader(&bytes, false).nullable_bytes().is_err(), "{length}");
        assert!(reader(&bytes, false).nullable_array(Reader::i8).is_err(), "{length}");
    }
    for length in [-2_i16, i16::MIN, 5, i16::MAX] {
        let bytes = [&length.to_be_bytes()[..], b"four"].concat();
        assert!(reader(&bytes, false).nullable_text().is_err(), "{length}");
    }
    for compact in [&[6_u8][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff, 0xff, 0xff, 0xff, 0x1f], &[0xff; 6]] {
        let bytes = [compact, b"four"].concat();
        assert!(reader(&bytes, true).nullable_bytes().is_err(), "{compact:?}");
        assert!(reader(&bytes, true).nullable_text().is_err(), "{compact:?}");
        assert!(reader(&bytes, true).nullable_array(Reader::i8).is_err(), "{compact:?}");
        assert!(reader(&bytes, true).tags().is_err(), "{compact:?}");
    }
    assert_eq!(reader(&[0], true).bytes(), Err(Malformed::Null));
    assert_eq!(reader(&[3, 0xff, 0xfe], true).text(), Err(Malformed::Text));
}

#[test]
fn arrays_inside_arrays_are_counted_together() {
    let inner = [&200_i32.to_be_bytes()[..], &[0; 200]].concat();
    let bytes = [&400_i32.to_be_bytes()[..], &inner.repeat(400)].concat();
    let nested = reader(&bytes, false).array(|r| r.array(Reader::i8));
    assert_eq!(nested, Err(Malformed::TooMany));
}
