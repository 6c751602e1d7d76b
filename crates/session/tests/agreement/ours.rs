//! What our reader, with the store behind it, says of a package.

use std::sync::Arc;

use inband_package::digest::{Hex, sha256};
use inband_package::key::KeyError;
use inband_package::{Checked, Digest, Head, Index, KeyRing, Policy, Reader, Sink};
use inband_session::ResultCode;
use inband_store::layout::LayoutError;
use inband_store::memory::MemoryMedium;
use inband_store::text::Text;
use inband_store::{Firmware, Layout, Levels, Options, Region, Store, StoreError};

use crate::bases::Bmc;

/// How a package was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The result's name, or `accepted`.
    pub(crate) name: String,
    /// Bytes taken when it fell.
    pub(crate) at: u64,
    /// Name and SHA-256 of each member as it is stored, if the package was accepted.
    pub(crate) members: Vec<(String, String)>,
}

/// Judges a package that comes in these pieces.
pub(crate) fn judge<'a>(bmc: &Bmc, pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut reader = Reader::new(ring(bmc).unwrap(), policy(bmc));
    let mut target = Target { bmc, store: None, members: Vec::new() };
    let pushed = pieces.into_iter().try_for_each(|piece| reader.push(piece, &mut target).map(drop));
    let result = match pushed {
        Ok(()) => reader.finish().map_err(|refusal| ResultCode::from(&refusal)),
        Err(error) => Err(ResultCode::from(&error)),
    };
    let at = reader.received();
    match result {
        Ok(()) => Verdict { name: "accepted".into(), at, members: target.digests() },
        Err(code) => Verdict { name: code.name().into(), at, members: Vec::new() },
    }
}

/// The keys; not if there is none of a kind that is required.
pub(crate) fn ring(bmc: &Bmc) -> Result<KeyRing, KeyError> {
    let keys = bmc.keys.iter().map(|(key, only)| match only {
        Some(scheme) => key.clone().only_for(*scheme).unwrap(),
        None => key.clone(),
    });
    KeyRing::with_revoked(bmc.required.clone(), keys.collect(), bmc.revoked.clone())
}

/// The regions, one behind the other; not if a rule of layouts is broken.
pub(crate) fn layout(bmc: &Bmc) -> Result<Layout, LayoutError> {
    let mut end = 0;
    let place = |region: &Region| {
        let offset = end;
        end += region.length;
        Region { offset, ..region.clone() }
    };
    let regions = bmc.regions.iter().map(place).collect();
    Layout::new(end, regions)
}

fn policy(bmc: &Bmc) -> Policy {
    Policy {
        machine: bmc.machine.clone(),
        compatible: bmc.compatible.clone(),
        security_floor: bmc.floor,
        max_total_length: bmc.max_length,
        running: Some(bmc.running.clone()),
        same_version: bmc.same_version,
        downgrade: bmc.downgrade,
        expected: bmc.expected,
    }
}

/// A store that is made when the package gets that far, and the members as they come.
struct Target<'a> {
    bmc: &'a Bmc,
    store: Option<Store<MemoryMedium>>,
    members: Vec<(String, Vec<u8>)>,
}

impl Target<'_> {
    fn digests(self) -> Vec<(String, String)> {
        let digest = |(name, bytes): (String, Vec<u8>)| (name, Hex(&sha256(&bytes)).to_string());
        self.members.into_iter().map(digest).collect()
    }

    fn new_store(&self) -> Store<MemoryMedium> {
        let layout = layout(self.bmc).unwrap();
        let mut medium = MemoryMedium::new(layout.slot_length() as usize);
        let firmware = Firmware { version: Text::cut("1.0"), bcd_device: 0x0100, security_version: 0 };
        Store::create(&mut medium, &firmware).unwrap();
        let mut store = Store::open(medium, layout, Options::default()).unwrap();
        store.begin(1, 1, 1, Levels::FULL).unwrap();
        store
    }
}

impl Sink for Target<'_> {
    type Error = StoreError;

    fn begin(
        &mut self,
        _: &Head,
        digest: &Digest,
        index: &Arc<Index>,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.members = index.members.iter().map(|member| (member.name.clone(), Vec::new())).collect();
        let mut store = self.new_store();
        store.prepare(index, bytes, digest, Levels::FULL)?;
        self.store = Some(store);
        Ok(())
    }

    fn chunk(&mut self, chunk: &Checked<'_>) -> Result<(), StoreError> {
        let member = &mut self.members[chunk.member()].1;
        assert_eq!(chunk.offset(), member.len() as u64);
        member.extend(chunk.bytes());
        self.store.as_mut().unwrap().write_chunk(chunk)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
