use inband_ipmi::device::Framing;
use inband_session::DoorPolicy::{Always, Armed, Off};

use super::{Doors, Ipmi, IpmiChannel};

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

#[test]
fn a_channel_is_a_kind_and_where_it_is() {
    let channel =
        |text: &str| toml::from_str::<Ipmi>(&format!("channel = \"{text}\"")).map(|ipmi| ipmi.channel);
    for (text, framing) in [("kcs", Framing::Kcs), ("bt", Framing::Bt), ("ssif", Framing::Ssif)] {
        let device = IpmiChannel::Device(framing, "/dev/a:b".into());
        assert_eq!(channel(&format!("{text}:/dev/a:b")).unwrap(), Some(device));
    }
    assert_eq!(channel("qemu:bmc").unwrap(), Some(IpmiChannel::Qemu("bmc".into())));
    for nowhere in ["kcs", "bt:", "ssif:", "qemu:", "qemu-listen"] {
        let error = channel(nowhere).unwrap_err();
        assert!(error.message().contains("has to name a socket or a device"), "{nowhere}");
    }
    assert!(channel("lan:623").unwrap_err().message().contains("is not known"));
}
