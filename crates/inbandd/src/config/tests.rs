use inband_session::DoorPolicy::{Always, Armed, Off};

use super::Doors;

#[test]
fn without_a_word_there_is_no_disk() {
    let policies = |text: &str| {
        let doors: Doors = toml::from_str(text).unwrap();
        [doors.volume_policy(true), doors.volume_policy(false)]
    };
    assert_eq!(policies(""), [Off, Off]);
    assert_eq!(policies("volume.policy = \"always\""), [Always, Off]);
    // Beside a DFU interface that refuses, or goes by the letter: that is about DFU mode.
    assert_eq!(policies("volume.policy = \"armed\"\ndfu.policy = \"off\""), [Armed, Off]);
    assert_eq!(policies("volume.policy = \"armed\"\ndfu.conformance = \"strict\""), [Armed, Off]);
}

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
