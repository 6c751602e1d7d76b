//! The store's record, as a disk may hold it.

use core::time::Duration;

use inband_package::digest::sha256;
use inband_session::{Budget, Config, DoorPolicy, Limits, Rates, Session, StoreView, start};
use inband_store::memory::MemoryMedium;
use inband_store::record::{MAX_LENGTH, Place, newest};
use inband_store::text::Text;
use inband_store::{GIVEN_BACK_LIMIT, Layout, Options, Record, Region, SlotState, Store};

const SLOT: u64 = 64;

/// The input is a record without its checksum. It is read as it is, and with the right checksum and length in place.
pub(crate) fn run(input: &[u8]) {
    if let Ok(record) = Record::parse(input) {
        assert_eq!(record.encode(), input);
    }
    let _ = newest(Some(input), input.get(1..));

    let mut sealed = input[..input.len().min(MAX_LENGTH - 32)].to_vec();
    let length = u16::try_from(sealed.len() + 32).unwrap_or_default().to_le_bytes();
    if let Some(announced) = sealed.get_mut(10..12) {
        announced.copy_from_slice(&length);
    }
    let checksum = sha256(&sealed);
    sealed.extend_from_slice(&checksum);
    if let Ok(record) = Record::parse(&sealed) {
        assert_eq!(record.encode(), sealed);
        start(sealed);
    }
}

/// The machine starts with this record, whatever it says.
fn start(record: Vec<u8>) {
    let region = Region::new("bmc", "image", 0, SLOT);
    let layout = Layout::new(SLOT, vec![region]).expect("a region that fills the slot");
    let mut medium = MemoryMedium::new(64);
    medium.set_record(Place::Second, Some(record));
    let mut store = Store::open(medium, layout, Options::default()).expect("a valid record");
    if store.boot().is_err() {
        let bootable = |slot: &inband_store::SlotRecord| slot.state == SlotState::Good;
        assert!(!store.record().slots.iter().any(bootable), "a good slot was not booted");
        return;
    }
    let running = store.record().slot(store.running()).state;
    assert!(matches!(running, SlotState::Good | SlotState::Trial));

    start::recover(&mut store).expect("a medium without faults");
    let doors = [DoorPolicy::Always; 4];
    let config = Config { machine: Text::cut("board"), doors, limits: Limits::default(), takes_ahead: true };
    let budget = Budget::new(Rates::default(), store.levels(), Duration::ZERO);
    let session = Session::new(config, StoreView::of(&store, budget));
    assert!(!session.state().is_at_work());
    for page in 0..40 {
        let bytes = session.page(page, Duration::ZERO);
        assert!(bytes.is_none_or(|bytes| bytes.len() <= 60 && usize::from(bytes[1]) == bytes.len()));
    }
    assert_eq!(store.begin(1, 1, 1, budget.levels()).is_ok(), running == SlotState::Good);

    // A host that resets the BMC in every boot, as if each were its own: the trial ends all the same.
    let mut boots = 0;
    while store.boot().is_ok() && store.record().slot(store.running()).state != SlotState::Good {
        store.give_boot_back().expect("a medium without faults");
        boots += 1;
        assert!(boots <= 255 + usize::from(GIVEN_BACK_LIMIT), "a trial without end");
    }
}
