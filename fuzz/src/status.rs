//! A device that answers anything, against the reader of status pages.

use inband_session::status::{FirmwarePage, LogPage, MAX_LENGTH, MachinePage, StatusPage};

/// The input is what the device answered. Each kind of page reads it, or says what is wrong; what was read is printed
/// without harm and reads back the same.
pub(crate) fn run(input: &[u8]) {
    match StatusPage::decode(input) {
        Ok(page) => {
            assert_eq!(StatusPage::decode(&page.encode()), Ok(page));
            assert_eq!(page.result().map_or(page.result_code, |result| result.code()), page.result_code);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(page) = FirmwarePage::decode(input) {
        check(&page.encode(), input, page.version.as_str());
    }
    if let Ok(page) = MachinePage::decode(input) {
        check(&page.encode(), input, page.machine.as_str());
    }
    if let Ok(page) = LogPage::decode(input) {
        check(&page.encode(), input, page.version.as_str());
        assert_eq!(LogPage::decode(&page.encode()), Ok(page));
    }
}

/// A page with a text at its end: as long as the answer says, and nothing in the text that a terminal would obey.
fn check(encoded: &[u8], answer: &[u8], text: &str) {
    assert_eq!(encoded[..2], answer[..2]);
    assert!(encoded.len() <= MAX_LENGTH && encoded.ends_with(text.as_bytes()));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
}
