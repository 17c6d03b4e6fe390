//! Values and names as text: the forms that a script's reader sees, and the small name tables of the system.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use tapline_compiler::texts::Numbered;

use super::value::{Mean, Value};

/// Appends formatted text; writing to a vector cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut *$out, format_args!($($arg)*));
    }};
}
pub(crate) use put;

/// Appends the default form of a value.
pub fn write_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Signed(n, _) => put!(out, "{n}"),
        Value::Unsigned(n, _) => put!(out, "{n}"),
        Value::Bool(b) => put!(out, "{b}"),
        Value::Enum(n, name) => match name {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => put!(out, "{n}"),
        },
        Value::Fixed(fixed) => put!(out, "{fixed}"),
        Value::Pointer(n) => put!(out, "{n:#x}"),
        Value::Str { bytes, trailer } => {
            out.extend_from_slice(bytes);
            out.extend_from_slice(trailer.as_bytes());
        }
        Value::Strings(bytes) => write_joined(bytes, b" ", out),
        Value::Buf(bytes) => write_escaped(bytes, out),
        Value::Text(text) | Value::Stack(text) => out.extend_from_slice(text.as_bytes()),
        Value::Tuple(items) => {
            out.push(b'(');
            write_list(items, b", ", out);
            out.push(b')');
        }
        Value::Array(items) => {
            out.push(b'[');
            write_list(items, b",", out);
            out.push(b']');
        }
        Value::Struct(members) if members.is_empty() => out.extend_from_slice(b"{}"),
        Value::Struct(members) => {
            out.extend_from_slice(b"{ ");
            for (i, (name, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                put!(out, ".{name} = ");
                write_value(value, out);
            }
            out.extend_from_slice(b" }");
        }
        Value::Average(mean) => write_value(&mean.average(), out),
        Value::Stats(mean) => write_stats(*mean, out),
        Value::Histogram(histogram) => crate::output::histogram::write_text(histogram, 1, out),
        Value::Series(series) => crate::output::series::write_text(series, out),
    }
}

fn write_stats(mean: Mean, out: &mut Vec<u8>) {
    let [before, average, total, after] = if mean.in_words {
        ["count ", ", average ", ", total ", ""]
    } else {
        ["{ .count = ", ", .average = ", ", .total = ", " }"]
    };
    put!(out, "{before}{}{average}", mean.count);
    write_value(&mean.average(), out);
    out.extend_from_slice(total.as_bytes());
    write_value(&mean.total(), out);
    out.extend_from_slice(after.as_bytes());
}

/// Appends values with a separator between them.
pub fn write_list(items: &[Value<'_>], separator: &[u8], out: &mut Vec<u8>) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(separator);
        }
        write_value(item, out);
    }
}

/// Appends NUL-terminated strings with a separator between them.
pub fn write_joined(bytes: &[u8], separator: &[u8], out: &mut Vec<u8>) {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    for (i, part) in bytes.split(|&b| b == 0).enumerate() {
        if i > 0 {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(part);
    }
}

/// Appends printable ASCII as it is, and other bytes as `\xNN`.
pub fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for &b in bytes {
        if (0x20..0x7f).contains(&b) {
            out.push(b);
        } else {
            put!(out, "\\x{b:02x}");
        }
    }
}

/// An address of family 2 (IPv4) or 10 (IPv6) in network order, as `inet_ntop` writes it; empty for other families.
pub fn inet(family: u64, address: &[u8]) -> String {
    match family {
        2 => address.first_chunk::<4>().map(|&b| Ipv4Addr::from(b).to_string()).unwrap_or_default(),
        10 => address.first_chunk::<16>().map(|&b| inet6(Ipv6Addr::from(b))).unwrap_or_default(),
        _ => String::new(),
    }
}

/// The C library writes addresses of the form `::a.b.c.d` in dotted form, Rust in hexadecimal.
fn inet6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => address.to_string(),
    }
}

/// `aa:bb:cc:dd:ee:ff`, in capitals.
pub fn mac(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
    parts.join(":")
}

/// The text of an errno, a signal or a system call of this machine. An errno is an `int`, which the kernel's functions return negative.
pub fn of_number(what: Numbered, number: u64) -> String {
    let number = if what == Numbered::Error { u64::from((number as i32).unsigned_abs()) } else { number };
    what.text(crate::system::ARCH, number).map_or_else(|| what.unknown().to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Value<'_>) -> String {
        let mut out = Vec::new();
        write_value(value, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn default_forms() {
        let string = |s: &'static str| Value::Str { bytes: s.as_bytes(), trailer: "" };
        let nested = Value::Tuple(vec![Value::Unsigned(2, 8), string("x"), Value::Signed(-3, 1)]);
        assert_eq!(
            text(&Value::Tuple(vec![Value::Unsigned(1, 8), nested, Value::Bool(true)])),
            "(1, (2, x, -3), true)"
        );
        let ints = Value::Array(vec![Value::Signed(0, 4), Value::Signed(1, 4)]);
        let record = Value::Struct(vec![("a", Value::Signed(1, 4)), ("arr", ints), ("p", Value::Pointer(0))]);
        assert_eq!(text(&record), "{ .a = 1, .arr = [0,1], .p = 0x0 }");
        assert_eq!(text(&Value::Buf(b"a\x01\"b\xff\\")), "a\\x01\"b\\xff\\");
        assert_eq!(text(&Value::Enum(9, None)), "9");
        assert_eq!(text(&Value::Str { bytes: b"/usr", trailer: ".." }), "/usr..");
        let mean = Mean { count: 2, total: 15, signed: true, div: 1, in_words: false };
        assert_eq!(text(&Value::Stats(mean)), "{ .count = 2, .average = 7, .total = 15 }");
        assert_eq!(text(&Value::Stats(Mean { in_words: true, ..mean })), "count 2, average 7, total 15");
        assert_eq!(text(&Value::Stats(Mean::default())), "{ .count = 0, .average = 0, .total = 0 }");
    }

    #[test]
    fn addresses() {
        assert_eq!(inet(2, &[127, 0, 0, 1, 0]), "127.0.0.1");
        let mut loopback = [0; 16];
        *loopback.last_mut().unwrap_or(&mut 0) = 1;
        assert_eq!(inet(10, &loopback), "::1");
        assert_eq!(inet(10, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), "::1.2.3.4");
        assert_eq!(inet(10, &[0, 0]), "");
        assert_eq!(inet(99, &loopback), "");
        assert_eq!(mac(&[0, 1, 0xab, 3, 4, 5]), "00:01:AB:03:04:05");
    }

    #[test]
    fn names() {
        assert_eq!(of_number(Numbered::Signal, 9), "Killed");
        assert_eq!(of_number(Numbered::Signal, u64::MAX), "N/A");
        assert_eq!(of_number(Numbered::Syscall, 9999), "Unknown syscall");
        assert_eq!(of_number(Numbered::Error, 2), "No such file or directory");
        assert_eq!(of_number(Numbered::Error, (-13_i64).cast_unsigned()), "Permission denied");
        assert_eq!(of_number(Numbered::Error, 0xffff_fffe), "No such file or directory");
        assert_eq!(of_number(Numbered::Error, 12345), "Unknown error");
    }

    #[test]
    fn joined() {
        let mut out = Vec::new();
        write_joined(b"ls\0-l\0\0", b" ", &mut out);
        assert_eq!(out, b"ls -l ");
    }
}
