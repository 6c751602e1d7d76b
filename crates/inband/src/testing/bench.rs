//! What tests of updates have in common: a package, and what happened.

use std::{fs::File, path::Path};

use inband_package::{
    Rule,
    index::MemberKind,
    maker::{self, Input, PackOptions, PrivateKey},
};

use super::bmc::{MACHINE, Rig};
use crate::{
    cancel::Cancel,
    update::{
        Contents, Plan,
        door::Wish,
        event::{Event, Listener},
    },
};

/// A package in a file, and what it is.
pub(crate) struct Bench {
    file: tempfile::NamedTempFile,
    pub(crate) contents: Contents,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let key = PrivateKey::from_seed(&[7; 32]);
        let bytes = (0..400_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let inputs = [Input {
            name: "image-bmc".into(),
            kind: MemberKind::Image,
            target: 0,
            source: maker::Source::Bytes(bytes),
        }];
        let options = PackOptions {
            machine: MACHINE.into(),
            compatible: Vec::new(),
            version: "2.0.0".into(),
            security_version: 1,
            bcd_device: 0x0200,
            targets: vec!["bmc".into()],
            mtime: 0,
            compression: None,
            signers: vec![key.public().unwrap().signature_entry()],
        };
        let mut file = tempfile::NamedTempFile::new().unwrap();
        maker::pack(&options, &inputs, &mut file).unwrap();
        maker::sign(file.as_file_mut(), &key).unwrap();
        let demands = crate::package::check::Demands::default();
        let package = crate::package::check::check(file.path(), demands, &Cancel::default()).unwrap();
        let contents = Contents::Package(Box::new(package));
        assert!(contents.load().chunks() >= 5, "{}", contents.load().chunks());
        Self { file, contents }
    }

    /// Something that is no package of ours, of a length that is no multiple of anything.
    pub(crate) fn tar() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0x5a; 200_001]).unwrap();
        Self { file, contents: Contents::Tar(200_001) }
    }

    /// The same, longer than a piece of what goes to a disk.
    pub(crate) fn long() -> Self {
        let length = 2 * crate::disk::PIECE + 1;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0x5a; length]).unwrap();
        Self { file, contents: Contents::Tar(length as u64) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) fn rig(&self) -> Rig {
        Rig::new(&self.contents, &mut File::open(self.path()).unwrap())
    }

    pub(crate) fn plan(&self, door: Wish) -> Plan<'_> {
        Plan {
            package: self.path().to_owned(),
            keys: None,
            wait: None,
            same_version: Rule::Accept,
            downgrade: Rule::Accept,
            door,
            is_chosen: false,
            dry_run: false,
        }
    }
}

/// Remembers what happened.
#[derive(Default)]
pub(crate) struct Seen(pub(crate) Vec<Event>);

impl Listener for Seen {
    fn event(&mut self, event: &Event) {
        self.0.push(event.clone());
    }
}

impl Seen {
    pub(crate) fn doors(&self) -> Vec<&'static str> {
        let door = |event: &Event| if let Event::Door { door, .. } = event { Some(*door) } else { None };
        self.0.iter().filter_map(door).collect()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0.iter().filter(|event| wanted(event)).count()
    }
}
