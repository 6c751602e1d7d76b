//! What each policy of a region makes of an update (docs/spec/store.md, 5).

use super::*;
use crate::layout::RegionPolicy;

/// Regions without gaps, of 1000 bytes each.
const NAMES: [&str; 4] = ["image-u-boot", "image-kernel", "image-rofs", "image-rwfs"];
const REGION: usize = 1000;

/// Bytes of a region.
fn span(name: &str) -> core::ops::Range<usize> {
    let at = NAMES.iter().position(|known| *known == name).unwrap() * REGION;
    at..at + REGION
}

fn region(name: &str) -> Region {
    Region::new("bmc", name, span(name).start as u64, REGION as u64)
}

/// A store with all four regions, each with its own policy, and slot b full of BBh.
fn store_of(regions: impl IntoIterator<Item = Region>) -> Store<MemoryMedium> {
    let layout = Layout::new(SLOT as u64, regions.into_iter().collect()).unwrap();
    Store::open(medium(), layout, Options::default()).unwrap()
}

fn store() -> Store<MemoryMedium> {
    store_of(NAMES.map(region))
}

/// A package with these images; the rest as [`sample`].
fn with_images(images: &[(&str, &[u8])]) -> Package {
    let mut package = sample();
    package.index.members =
        images.iter().map(|(name, bytes)| member(name, MemberKind::Image, bytes)).collect();
    package.members = images.iter().map(|(_, bytes)| bytes.to_vec()).collect();
    package
}

const KERNEL: (&str, &[u8]) = ("image-kernel", &[1; 700]);
const ROFS: (&str, &[u8]) = ("image-rofs", &[2; 1000]);

/// Whether the slot was written, but for its index.
fn is_written(store: &Store<MemoryMedium>) -> bool {
    store.medium().operations().iter().any(|operation| matches!(operation, Operation::Write { .. }))
}

#[track_caller]
fn assert_refused(store: &mut Store<MemoryMedium>, package: &Package, refusal: Refusal) {
    let before = store.record().slots;
    store.medium.forget_operations();
    let id = store.record().last_id + 1;
    assert_eq!(update(store, id, package), Err(StoreError::Refused(refusal)));
    store.abandon(FAILED, None).unwrap();
    assert_eq!(store.record().slots, before);
    assert!(!is_written(store));
    assert_eq!(record_writes(store), 2, "at the beginning and at the end");
}

#[test]
fn a_preserved_region_keeps_its_bytes_whether_or_not_its_image_comes() {
    for settings in [None, Some(&[3; 10][..]), Some(&[3; REGION])] {
        let mut images = vec![KERNEL, ROFS];
        images.extend(settings.map(|bytes| ("image-rwfs", bytes)));
        let mut store = store();
        update(&mut store, 1, &with_images(&images)).unwrap();
        let slot = store.medium().slot(Slot::B);
        let mut kernel = vec![0xff; REGION];
        kernel[..700].fill(1);
        assert_eq!(slot[span("image-kernel")], kernel, "a tail is FFh");
        assert_eq!(slot[span("image-rofs")], [2; REGION]);
        assert_eq!(slot[span("image-rwfs")], [0xbb; REGION], "to its last byte");
        assert_eq!(slot[span("image-u-boot")], [0xbb; REGION]);
        assert_eq!(slot[4000..], [0xbb; SLOT - 4000]);
    }
}

#[test]
fn a_preserved_region_is_not_read_back() {
    for cell in [3000, 3500, 3999] {
        let mut store = store();
        store.medium.break_cell(Slot::B, cell);
        update(&mut store, 1, &with_images(&[KERNEL, ROFS, ("image-rwfs", &[3; 600])])).unwrap();
    }
    // The neighbour's last byte is.
    let mut store = store();
    store.medium.break_cell(Slot::B, 2999);
    let error = update(&mut store, 1, &with_images(&[KERNEL, ROFS])).unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { slot: Slot::B, .. }), "{error}");
}

#[test]
fn an_image_for_a_preserved_region_must_fit_it() {
    let large = [3; REGION + 1];
    let package = with_images(&[KERNEL, ROFS, ("image-rwfs", &large)]);
    let (member, length, limit) = (Some("image-rwfs".to_string()), 1001, 1000);
    assert_refused(&mut store(), &package, Refusal::TooLarge { member, length, limit });
}

#[test]
fn a_refused_member_refuses_the_package_before_anything_is_written() {
    let refusal = || Refusal::RefusedMember { member: "image-u-boot".to_string() };
    let mut store = store();
    assert_refused(&mut store, &with_images(&[KERNEL, ROFS, ("image-u-boot", &[4])]), refusal());
    // However long it is, and whatever else is wrong behind it.
    assert_refused(&mut store, &with_images(&[("image-u-boot", &[4; 2000])]), refusal());
    assert_refused(&mut store, &with_images(&[("image-u-boot", &[]), ("unknown", &[1])]), refusal());
    // The first fault in the order of the package counts.
    let unmapped = Refusal::UnmappedMember { member: "unknown".to_string() };
    assert_refused(&mut store, &with_images(&[("unknown", &[1]), ("image-u-boot", &[])]), unmapped);
    // Metadata goes nowhere, whatever its name.
    let mut package = with_images(&[KERNEL, ROFS]);
    package.index.members.push(member("image-u-boot", MemberKind::Metadata, &[4]));
    package.members.push(vec![4]);
    update(&mut store, 9, &package).unwrap();
    assert_eq!(store.medium().slot(Slot::B)[span("image-u-boot")], [0xbb; REGION]);
}

#[test]
fn policies_can_be_turned_round() {
    let policy = |name: &str| match name {
        "image-u-boot" | "image-rwfs" => RegionPolicy::Replace,
        "image-kernel" => RegionPolicy::Preserve,
        _ => RegionPolicy::Refuse,
    };
    let mut store = store_of(NAMES.map(|name| Region { policy: policy(name), ..region(name) }));
    let (loader, settings) = (("image-u-boot", &[5; 8][..]), ("image-rwfs", &[6; 8][..]));
    let missing = Refusal::MissingMember { member: "image-rwfs".to_string() };
    assert_refused(&mut store, &with_images(&[loader]), missing);
    let refused = Refusal::RefusedMember { member: "image-rofs".to_string() };
    assert_refused(&mut store, &with_images(&[loader, settings, ROFS]), refused);
    update(&mut store, 9, &with_images(&[loader, settings])).unwrap();
    let slot = store.medium().slot(Slot::B);
    assert_eq!((slot[0], slot[8], slot[3000], slot[3008]), (5, 0xff, 6, 0xff));
    assert_eq!(slot[1000..3000], [0xbb; 2000]);
}

#[test]
fn the_same_package_again_writes_nothing_not_even_where_settings_have_changed() {
    let mut store = store();
    let package = with_images(&[KERNEL, ROFS, ("image-rwfs", &[3; 600])]);
    update(&mut store, 1, &package).unwrap();
    store.medium.forget_operations();
    update(&mut store, 2, &package).unwrap();
    assert!(!is_written(&store));
}

#[test]
fn each_target_has_its_regions() {
    let rom = Region::new("bios", "rom", 1000, 500);
    let kernel = Region::new("bmc", "kernel", 0, 1000);
    let mut store = store_of([rom, kernel]);
    let mut both = with_images(&[("kernel", &[1; 9]), ("rom", &[2; 500])]);
    both.index.targets = vec!["bios".to_string(), "bmc".to_string()];
    both.index.members[0].target = 1;
    update(&mut store, 1, &both).unwrap();
    let slot = store.medium().slot(Slot::B);
    assert_eq!((&slot[..9], slot[9], slot[999]), (&[1; 9][..], 0xff, 0xff));
    assert_eq!((slot[1000], slot[1499], slot[1500]), (2, 2, 0xbb));

    // A member of the other target is another one, whatever its name.
    let mut swapped = both.clone();
    swapped.index.members[0].target = 0;
    let unmapped = Refusal::UnmappedMember { member: "kernel".to_string() };
    assert_refused(&mut store, &swapped, unmapped);
    // A slot holds one whole package: one target alone is not enough.
    let mut one = both.clone();
    one.index.members.truncate(1);
    let missing = Refusal::MissingMember { member: "rom".to_string() };
    assert_refused(&mut store, &one, missing);
    // A target of which this BMC knows nothing, with or without anything for it, comes before all members.
    let mut more = swapped;
    more.index.targets.push("cpld".to_string());
    assert_refused(&mut store, &more, Refusal::UnmappedTarget { target: "cpld".to_string() });
}

/// What docs/spec/store.md, 5, says of a package with these images, in the order of [`NAMES`], none of which is too long.
fn verdict(policies: [RegionPolicy; 4], brings: [bool; 4]) -> Result<(), Refusal> {
    let first = |policy, brought| {
        let matches = |at: &usize| policies[*at] == policy && brings[*at] == brought;
        (0..4).find(matches).map(|at| NAMES[at].to_string())
    };
    if let Some(member) = first(RegionPolicy::Refuse, true) {
        return Err(Refusal::RefusedMember { member });
    }
    match first(RegionPolicy::Replace, false) {
        Some(member) => Err(Refusal::MissingMember { member }),
        None => Ok(()),
    }
}

/// Each policy for each region, with each choice of images.
#[test]
fn of_all_layouts_and_packages_only_what_is_replaced_is_written() {
    const POLICIES: [RegionPolicy; 3] = [RegionPolicy::Replace, RegionPolicy::Preserve, RegionPolicy::Refuse];
    let (mut taken, mut refused) = (0, 0);
    for number in 0..81 {
        let policies = [1, 3, 9, 27].map(|weight| POLICIES[number / weight % 3]);
        let regions = NAMES.iter().zip(policies).map(|(name, policy)| Region { policy, ..region(name) });
        let Ok(layout) = Layout::new(SLOT as u64, regions.collect()) else {
            assert!(!policies.contains(&RegionPolicy::Replace));
            continue;
        };
        for choice in 0..16 {
            let brings = [1, 2, 4, 8].map(|bit| choice & bit != 0);
            let images: Vec<_> =
                (0..4).filter(|at| brings[*at]).map(|at| (NAMES[at], &[7; 600][..])).collect();
            let mut store = Store::open(medium(), layout.clone(), Options::default()).unwrap();
            let result = update(&mut store, 1, &with_images(&images));
            let expected = verdict(policies, brings);
            let is_taken = expected.is_ok();
            assert_eq!(result, expected.map_err(StoreError::Refused), "{policies:?}, {brings:?}");
            assert!(is_taken || !is_written(&store));
            let slot = store.medium().slot(Slot::B);
            for (name, policy) in NAMES.iter().zip(policies) {
                let now = &slot[span(name)];
                if is_taken && policy == RegionPolicy::Replace {
                    assert!(now[..600] == [7; 600] && now[600..] == [0xff; 400], "{name}");
                } else {
                    assert!(*now == [0xbb; REGION], "{name}");
                }
            }
            assert_eq!(slot[4000..], [0xbb; SLOT - 4000]);
            if is_taken { taken += 1 } else { refused += 1 }
        }
    }
    // A region leaves one choice if it is replaced, two if it is preserved, one if it is refused; without `Replace`, 3^4.
    let all = 65 * 16;
    assert_eq!((taken, refused), (256 - 81, all - (256 - 81)));
}
