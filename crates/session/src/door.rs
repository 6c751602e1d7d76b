//! Doors (docs/spec/session.md, 2): the ways in.

use core::fmt;

/// A way in. The numbers are wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Door {
    /// DFU over control transfers.
    Dfu = 1,
    /// The bulk extension.
    Bulk = 2,
    /// The USB disk.
    Volume = 3,
    /// Packages by IPMI: reserved. Commands come that way, which open the other doors, but no payload; it is always off.
    Ipmi = 4,
}

impl Door {
    /// All doors, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Dfu, Self::Bulk, Self::Volume, Self::Ipmi];

    /// The number; 0 stands for no door.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The door with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|door| door.number() == number)
    }

    /// The name, as in configuration and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dfu => "dfu",
            Self::Bulk => "bulk",
            Self::Volume => "volume",
            Self::Ipmi => "ipmi",
        }
    }

    /// Where the door stands in a list of all.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize - 1
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a door stands. The numbers are wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DoorState {
    /// Nobody comes in.
    #[default]
    Shut = 0,
    /// The door opens at the host's next knock.
    Armed = 1,
    /// The door is open.
    Open = 2,
}

impl DoorState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Shut, Self::Armed, Self::Open];

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The state with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The name, as in logs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shut => "shut",
            Self::Armed => "armed",
            Self::Open => "open",
        }
    }
}

/// Who decides whether a door opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DoorPolicy {
    /// The host may knock at any time; the door is shut only while it is withdrawn.
    Always,
    /// Somebody on the BMC arms the door, for one time.
    Armed,
    /// The door never opens.
    #[default]
    Off,
}

impl DoorPolicy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Always, Self::Armed, Self::Off];

    /// The name, as in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Armed => "armed",
            Self::Off => "off",
        }
    }

    /// The policy with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// How a door of this policy stands when nobody has armed it and nobody is in.
    #[must_use]
    pub const fn at_rest(self) -> DoorState {
        match self {
            Self::Always => DoorState::Armed,
            Self::Armed | Self::Off => DoorState::Shut,
        }
    }
}
