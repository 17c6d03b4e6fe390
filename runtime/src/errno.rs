//! Texts of the system's errors, in the words of strerror(3).

use std::borrow::Cow;

use tapline_compiler::texts::Numbered;

/// The text of an errno.
pub fn error_text(errno: i32) -> Cow<'static, str> {
    let known = u64::try_from(errno).ok().and_then(|errno| Numbered::Error.text(crate::system::ARCH, errno));
    known.unwrap_or_else(|| format!("Unknown error {errno}").into())
}

/// The text of an I/O error, without the number that the standard library adds.
pub fn describe(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| error_text(errno).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors() {
        assert_eq!(error_text(2), "No such file or directory");
        assert_eq!(error_text(9999), "Unknown error 9999");
        assert_eq!(error_text(-2), "Unknown error -2");
    }

    #[test]
    fn those_of_libc() {
        // The standard library asks strerror(3), and puts the number behind it.
        for errno in 1..134 {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            let text = text.strip_suffix(&format!(" (os error {errno})")).unwrap_or(&text);
            assert_eq!(error_text(errno), text);
        }
    }
}
