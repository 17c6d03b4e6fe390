//! Texts of errors, from the C library.

use std::ffi::CStr;

/// The text of an errno, as strerror(3) gives it.
pub fn error_text(errno: i32) -> String {
    let mut buffer = [0 as libc::c_char; 256];
    // SAFETY: the buffer's size is passed, and the result is NUL-terminated.
    unsafe {
        libc::strerror_r(errno, buffer.as_mut_ptr(), buffer.len());
        CStr::from_ptr(buffer.as_ptr()).to_string_lossy().into_owned()
    }
}

/// The text of an I/O error, without the number that the standard library adds.
pub fn describe(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), error_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors() {
        assert_eq!(error_text(2), "No such file or directory");
        assert_eq!(error_text(9999), "Unknown error 9999");
    }
}
