//! What a measurement found, against what is wanted of it.

use std::fmt;

use crate::Outcome;

/// A ratio or a time that something is expected of.
pub(super) struct Figure {
    pub(super) what: &'static str,
    pub(super) value: f64,
    pub(super) bar: Wanted,
}

#[derive(Clone, Copy)]
pub(super) enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    fn holds(&self) -> bool {
        match self.bar {
            Wanted::AtMost(most) => self.value <= most,
            Wanted::AtLeast(least) => self.value >= least,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, than) = match self.bar {
            Wanted::AtMost(bound) => ("at most", bound),
            Wanted::AtLeast(bound) => ("at least", bound),
        };
        let verdict = if self.holds() { "holds" } else { "DOES NOT HOLD" };
        write!(f, "{}: {:.3}, wanted {bound} {than}: {verdict}", self.what, self.value)
    }
}

/// Prints them, and fails if one is not what is wanted.
pub(super) fn print(figures: &[Figure]) -> Outcome {
    figures.iter().for_each(|figure| println!("{figure}"));
    let missed = figures.iter().filter(|figure| !figure.holds()).count();
    if missed == 0 { Ok(()) } else { Err(format!("{missed} figures are not what is wanted")) }
}

/// What was measured of one quantity, smallest first.
pub(super) struct Values(Vec<f64>);

impl Values {
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Of an even number the larger of the two in the middle; NaN of none.
    pub(super) fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(super) fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// Median, fastest and slowest.
    pub(super) fn spread(&self) -> String {
        format!("{:.2} ({:.2} to {:.2})", self.median(), self.least(), self.most())
    }
}
