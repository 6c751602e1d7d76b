use inband_session::DoorPolicy::{Always, Armed, Off};

use super::Doors;

#[test]
fn without_a_word_bulk_opens_wherever_it_can() {
    let policies = |text: &str| {
        let doors: Doors = toml::from_str(text).unwrap();
        [doors.bulk_policy(true), doors.bulk_policy(false)]
    };
    assert_eq!(policies(""), [Always, Off]);
    assert_eq!(policies("dfu.policy = \"armed\""), [Always, Off]);
    assert_eq!(policies("dfu.policy = \"off\""), [Off, Off]);
    assert_eq!(policies("dfu.conformance = \"strict\""), [Off, Off]);
    // Whoever asks for it is to hear that there cannot be one.
    assert_eq!(policies("bulk.policy = \"armed\""), [Armed, Armed]);
    assert_eq!(policies("bulk.policy = \"off\""), [Off, Off]);
}
