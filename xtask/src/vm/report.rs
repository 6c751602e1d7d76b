//! What a guest says on its result line, a serial port of its own that nothing else writes to:
//!
//! ```text
//! READY                       init has set the guest up, the suite begins
//! TEST NAME ok
//! TEST NAME FAILED DETAIL
//! {...}                       what was measured, as JSON
//! EXIT STATUS                 the suite ran to its end and exited with STATUS
//! ```

/// What one boot reported.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Report {
    ready: bool,
    passed: usize,
    /// Each with its detail.
    failed: Vec<String>,
    exit: Option<u8>,
    measured: Vec<String>,
    /// Lines that are of no kind.
    strange: Vec<String>,
}

impl Report {
    /// Takes in one line.
    pub(super) fn take(&mut self, line: &str) {
        if line.starts_with('{') && line.ends_with('}') {
            self.measured.push(line.into());
            return;
        }
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None, ..) => {}
            (Some("READY"), None, None) => self.ready = true,
            (Some("TEST"), Some(_), Some("ok")) => self.passed += 1,
            (Some("TEST"), Some(name), Some("FAILED")) => {
                let detail: Vec<&str> = words.collect();
                self.failed.push(format!("{name} ({})", detail.join(" ")));
            }
            (Some("EXIT"), Some(status), None) if status.parse::<u8>().is_ok() => {
                self.exit = status.parse().ok();
            }
            _ => self.strange.push(line.into()),
        }
    }

    /// Whether the kernel came up and init reached the suite.
    pub(super) const fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the suite reached its end, with whatever result.
    pub(super) const fn is_complete(&self) -> bool {
        self.exit.is_some()
    }

    /// How many tests passed.
    pub(super) const fn passed(&self) -> usize {
        self.passed
    }

    /// How many tests failed.
    pub(super) const fn failed(&self) -> usize {
        self.failed.len()
    }

    /// What was measured, line by line.
    pub(super) fn into_measured(self) -> Vec<String> {
        self.measured
    }

    /// Good only if the suite ran tests, none failed, and it ended by itself with 0.
    pub(super) fn verdict(&self) -> Result<(), String> {
        match (self.ready, self.exit) {
            (false, _) => Err("the guest did not come up".into()),
            (true, None) => Err("the suite did not reach its end".into()),
            _ if !self.failed.is_empty() => Err(format!("failed: {}", self.failed.join(", "))),
            _ if !self.strange.is_empty() => Err(format!("not a result: {}", self.strange.join(" / "))),
            (true, Some(0)) if self.passed == 0 => Err("no test ran".into()),
            (true, Some(0)) => Ok(()),
            (true, Some(status)) => Err(format!("the suite exited with {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(lines: &[&str]) -> Result<(), String> {
        let mut report = Report::default();
        for line in lines {
            report.take(line);
        }
        report.verdict()
    }

    #[test]
    fn tests_that_ran_to_the_end_are_good() {
        assert_eq!(verdict(&["READY", "TEST a ok", "", "TEST b ok", "EXIT 0"]), Ok(()));
    }

    #[test]
    fn a_failed_test_is_bad_whatever_the_exit_status() {
        let lines = ["READY", "TEST a ok", "TEST b FAILED it was 3", "TEST c FAILED exit status 1", "EXIT 0"];
        assert_eq!(verdict(&lines), Err("failed: b (it was 3), c (exit status 1)".into()));
    }

    #[test]
    fn measurements_are_kept_in_their_order() {
        let mut report = Report::default();
        for line in ["READY", "{\"a\":1}", "TEST a ok", "{\"a\":2}", "EXIT 0"] {
            report.take(line);
        }
        assert_eq!(report.verdict(), Ok(()));
        assert_eq!(report.into_measured(), ["{\"a\":1}", "{\"a\":2}"]);
    }

    #[test]
    fn a_suite_without_tests_is_bad() {
        assert_eq!(verdict(&["READY", "EXIT 0"]), Err("no test ran".into()));
    }

    #[test]
    fn a_suite_that_stops_in_the_middle_is_bad() {
        assert_eq!(verdict(&["READY", "TEST a ok"]), Err("the suite did not reach its end".into()));
        assert_eq!(verdict(&[]), Err("the guest did not come up".into()));
        assert_eq!(verdict(&["READY", "TEST a ok", "EXIT 2"]), Err("the suite exited with 2".into()));
    }

    #[test]
    fn a_line_that_is_no_result_is_bad() {
        for line in ["TEST a", "TEST a okay", "EXIT", "EXIT x", "EXIT 256", "READY now", "{\"a\":", "noise"] {
            let verdict = verdict(&["READY", "TEST a ok", line, "EXIT 0"]);
            assert_eq!(verdict, Err(format!("not a result: {line}")));
        }
    }
}
