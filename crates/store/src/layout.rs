//! The layout of a slot: which image member of a package goes where, and whether it may (docs/spec/store.md, 5).

use alloc::string::String;
use alloc::vec::Vec;

/// Where in a slot the image member of a name goes, and whether it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The target the member must be for, such as `bmc`.
    pub target: String,
    /// Name of the member.
    pub member: String,
    /// First byte in the slot.
    pub offset: u64,
    /// Length in bytes; what the member does not fill is FFh.
    pub length: u64,
    /// What an update does with it.
    pub policy: RegionPolicy,
}

/// What an update does with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionPolicy {
    /// It is written, and every package has to bring its image.
    Replace,
    /// It is neither written nor read back, whether or not a package brings an image for it.
    Preserve,
    /// A package that brings an image for it is refused.
    Refuse,
}

impl RegionPolicy {
    /// The policy for a member of which nobody said anything else. Names are those of OpenBMC's static layout: the boot
    /// loader is what cannot be rolled back, and rwfs holds the operator's settings.
    #[must_use]
    pub fn of_member(member: &str) -> Self {
        match member {
            "image-u-boot" => Self::Refuse,
            "image-rwfs" => Self::Preserve,
            _ => Self::Replace,
        }
    }
}

impl Region {
    /// A region with the policy that its member has by itself. `offset` and `length` are in bytes.
    #[must_use]
    pub fn new(target: &str, member: &str, offset: u64, length: u64) -> Self {
        let policy = RegionPolicy::of_member(member);
        Self { target: target.into(), member: member.into(), offset, length, policy }
    }

    /// The first byte behind the region; a checked layout has none that overflows.
    pub(crate) const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The checked regions of a slot: none empty, none beyond the slot, no two that overlap, no member twice, whatever their
/// targets; one at least that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slot_length: u64,
    /// In the order of their offsets.
    regions: Vec<Region>,
}

impl Layout {
    /// Checks the regions of a slot of `slot_length` bytes.
    ///
    /// # Errors
    /// The first rule that is broken, with the member it is broken by.
    pub fn new(slot_length: u64, mut regions: Vec<Region>) -> Result<Self, LayoutError> {
        if !regions.iter().any(|region| region.policy == RegionPolicy::Replace) {
            return Err(LayoutError::NothingToReplace);
        }
        regions.sort_by_key(|region| region.offset);
        for (at, region) in regions.iter().enumerate() {
            let member = || region.member.clone();
            if region.target.is_empty() || region.member.is_empty() {
                return Err(LayoutError::NoName { offset: region.offset });
            }
            if region.length == 0 {
                return Err(LayoutError::Empty { member: member() });
            }
            if region.offset.checked_add(region.length).is_none_or(|end| end > slot_length) {
                return Err(LayoutError::BeyondSlot { member: member(), slot_length });
            }
            if let Some(before) = regions[..at].last().filter(|before| before.end() > region.offset) {
                return Err(LayoutError::Overlap { first: before.member.clone(), second: member() });
            }
            // Also for two targets: no package has a name twice (docs/spec/package.md, 5).
            if regions[..at].iter().any(|other| other.member == region.member) {
                return Err(LayoutError::Twice { member: member() });
            }
        }
        Ok(Self { slot_length, regions })
    }

    /// Bytes of a slot.
    #[must_use]
    pub const fn slot_length(&self) -> u64 {
        self.slot_length
    }

    /// The regions in the order of their offsets.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Whether any region is for this target.
    pub(crate) fn has_target(&self, target: &str) -> bool {
        self.regions.iter().any(|region| region.target == target)
    }

    /// Where in [`Layout::regions`] the member of a target stands.
    pub(crate) fn find(&self, target: &str, member: &str) -> Option<usize> {
        self.regions.iter().position(|region| region.target == target && region.member == member)
    }
}

/// Which rule of a layout is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// There is nothing that an update would write.
    #[error("the layout has no region with the policy replace: no image could go anywhere")]
    NothingToReplace,
    /// A region without a member or target name.
    #[error("the region at offset {offset} has no member name or no target name")]
    NoName {
        /// Where the region begins, in bytes.
        offset: u64,
    },
    /// A region of no bytes.
    #[error("the region of \"{member}\" is empty")]
    Empty {
        /// Name of the member.
        member: String,
    },
    /// A region that ends behind the slot.
    #[error("the region of \"{member}\" ends behind the slot's {slot_length} bytes")]
    BeyondSlot {
        /// Name of the member.
        member: String,
        /// Bytes of a slot.
        slot_length: u64,
    },
    /// Two regions share bytes.
    #[error("the regions of \"{first}\" and \"{second}\" overlap")]
    Overlap {
        /// Name of the member that begins first.
        first: String,
        /// Name of the member that begins inside it.
        second: String,
    },
    /// Two regions of one member.
    #[error("\"{member}\" has two regions")]
    Twice {
        /// Name of the member.
        member: String,
    },
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn region(member: &str, offset: u64, length: u64) -> Region {
        Region::new("bmc", member, offset, length)
    }

    fn refusal(regions: Vec<Region>) -> LayoutError {
        Layout::new(100, regions).unwrap_err()
    }

    #[test]
    fn regions_that_fill_a_slot_are_taken_in_any_order() {
        let layout = Layout::new(100, vec![region("rofs", 40, 60), region("kernel", 0, 40)]).unwrap();
        assert_eq!(layout.slot_length(), 100);
        assert_eq!(layout.find("bmc", "kernel"), Some(0));
        assert_eq!(layout.find("bmc", "rofs"), Some(1));
        assert_eq!(layout.find("bios", "rofs"), None);
        assert_eq!(layout.find("bmc", "u-boot"), None);
    }

    #[test]
    fn broken_rules_are_named() {
        let named = |member: &str| member.to_string();
        assert_eq!(refusal(vec![]), LayoutError::NothingToReplace);
        assert_eq!(refusal(vec![region("", 3, 1)]), LayoutError::NoName { offset: 3 });
        assert_eq!(refusal(vec![region("k", 0, 0)]), LayoutError::Empty { member: named("k") });
        for (offset, length) in [(0, 101), (100, 1), (u64::MAX, 1), (1, u64::MAX)] {
            let error = LayoutError::BeyondSlot { member: named("k"), slot_length: 100 };
            assert_eq!(refusal(vec![region("k", offset, length)]), error);
        }
        let overlap = LayoutError::Overlap { first: named("k"), second: named("r") };
        assert_eq!(refusal(vec![region("r", 9, 10), region("k", 0, 10)]), overlap);
        assert_eq!(refusal(vec![region("k", 0, 10), region("r", 0, 10)]), overlap);
        let twice = LayoutError::Twice { member: named("k") };
        assert_eq!(refusal(vec![region("k", 0, 10), region("r", 10, 10), region("k", 20, 10)]), twice);
    }

    #[test]
    fn a_member_has_the_policy_that_openbmc_s_layout_asks_for() {
        let policies = ["image-u-boot", "image-rwfs", "image-kernel", "u-boot", "image-u-boot2"]
            .map(|member| region(member, 0, 1).policy);
        let (replace, preserve, refuse) =
            (RegionPolicy::Replace, RegionPolicy::Preserve, RegionPolicy::Refuse);
        assert_eq!(policies, [refuse, preserve, replace, replace, replace]);
    }

    #[test]
    fn a_layout_that_replaces_nothing_is_refused() {
        let (loader, settings) = (region("image-u-boot", 0, 10), region("image-rwfs", 10, 10));
        assert_eq!(refusal(vec![loader.clone(), settings.clone()]), LayoutError::NothingToReplace);
        let kernel = region("image-kernel", 20, 10);
        assert!(Layout::new(100, vec![loader, settings, kernel]).is_ok());
    }

    #[test]
    fn the_rules_hold_across_targets_and_policies() {
        let bios = |member, offset| Region::new("bios", member, offset, 10);
        assert!(Layout::new(100, vec![region("k", 0, 10), bios("rom", 10)]).is_ok());
        let (first, second) = ("k".to_string(), "rom".to_string());
        let overlap = LayoutError::Overlap { first, second };
        assert_eq!(refusal(vec![region("k", 0, 10), bios("rom", 9)]), overlap);
        let twice = LayoutError::Twice { member: "k".to_string() };
        assert_eq!(refusal(vec![region("k", 0, 10), bios("k", 10)]), twice);
        // What is never written must not be written by way of a neighbour either.
        let overlap = LayoutError::Overlap { first: "image-rwfs".to_string(), second: "k".to_string() };
        assert_eq!(refusal(vec![region("image-rwfs", 0, 10), region("k", 9, 10)]), overlap);
    }
}
