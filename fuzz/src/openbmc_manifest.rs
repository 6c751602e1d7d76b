//! MANIFEST of an OpenBMC firmware tar. What is read keeps the bounds, and reads the same when it is written again.

use inband_package::openbmc::Manifest;
use inband_package::signature::Hash;

pub(crate) fn run(input: &[u8]) {
    let manifest = match Manifest::parse(input) {
        Ok(manifest) => manifest,
        Err(fault) => return assert!(!fault.to_string().is_empty()),
    };
    let hash = match manifest.hash {
        Hash::Sha256 => "RSA-SHA256",
        Hash::Sha384 => "RSA-SHA384",
        Hash::Sha512 => "RSA-SHA512",
    };
    let Manifest { purpose, version, machine, compatible, .. } = &manifest;
    for (text, most) in [(purpose, 128), (version, 48), (machine, 48)]
        .into_iter()
        .chain(compatible.iter().map(|name| (name, 48)))
    {
        assert!((1..=most).contains(&text.len()) && text.bytes().all(inband_package::is_str_byte));
    }
    let mut again = format!("purpose={purpose}\nversion={version}\nHashType={hash}\nMachineName={machine}\n");
    compatible.iter().for_each(|name| again.push_str(&format!("CompatibleName={name}\n")));
    assert_eq!(Manifest::parse(again.as_bytes()), Ok(manifest));
}
