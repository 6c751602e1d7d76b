//! What `contrib/` says of the rest of the tree, and of the kernel, has to be so.

use std::fs;
use std::path::PathBuf;

use crate::{Outcome, layout};

/// Options of the kernel fragment that no machine but a BMC has.
const OF_BMCS: [&str; 1] = ["CONFIG_USB_ASPEED_VHUB"];

/// Fails unless a kernel has all that the fragment for BMCs asks for, built in or as a module: what the tests run on must
/// not have more than a BMC gets. `config` is the kernel's, as it was built.
pub(crate) fn kernel_has_fragment(config: &str) -> Outcome {
    let file = folder().join("openbmc/recipes-kernel/linux/files/inband.cfg");
    let fragment = fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let missing = missing(&fragment, config);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("{} asks for what the kernel does not know: {}", file.display(), missing.join(" ")))
    }
}

/// The options of a fragment that a kernel does not have.
fn missing<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let set = |option: &str| {
        let mut lines = config.lines().filter_map(|line| line.strip_prefix(option));
        lines.any(|value| value == "=y" || value == "=m")
    };
    let wanted = fragment.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    // A line of another form is an option that no kernel has.
    let options = wanted.map(|line| line.strip_suffix("=y").unwrap_or(line));
    options.filter(|option| !OF_BMCS.contains(option) && !set(option)).collect()
}

fn folder() -> PathBuf {
    layout::workspace().join("contrib")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::program;

    const RECIPE: &str = "openbmc/recipes-inband/inbandd/inbandd_git.bb";
    const PROVIDER_RECIPE: &str = "openbmc/recipes-inband/inband-ipmi-provider/inband-ipmi-provider_git.bb";
    const PROVIDER: &str = "openbmc/ipmi-provider";

    fn read(file: &str) -> String {
        fs::read_to_string(folder().join(file)).unwrap()
    }

    #[test]
    fn an_option_counts_built_in_or_as_a_module_and_not_by_half_its_name() {
        let config = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_DD=y\n";
        let fragment = "# CONFIG_NO=y\nCONFIG_A=y\nCONFIG_B=y\n\nCONFIG_C=y\nCONFIG_D=y\nCONFIG_USB_ASPEED_VHUB=y\nCONFIG_A=7\n";
        assert_eq!(missing(fragment, config), ["CONFIG_C", "CONFIG_D", "CONFIG_A=7"]);
    }

    #[test]
    fn the_recipes_have_the_sums_of_our_licences() {
        let recipes = read(RECIPE) + &read(PROVIDER_RECIPE);
        let mut licences = 0;
        for word in recipes.split_whitespace() {
            let Some((file, sum)) = word.strip_prefix("file://").and_then(|word| word.split_once(";md5="))
            else {
                continue;
            };
            let ours = program::output(Command::new("md5sum").arg(layout::workspace().join(file))).unwrap();
            assert!(ours.starts_with(sum), "{file}: {ours}");
            licences += 1;
        }
        assert_eq!(licences, 4);
    }

    #[test]
    fn the_provider_is_small_and_calls_what_inbandd_serves() {
        let provider = read(&format!("{PROVIDER}/provider.cpp"));
        assert!(provider.lines().count() <= 150);
        let daemon = layout::workspace().join("crates/inbandd/src/ipmi/dbus.rs");
        let daemon = fs::read_to_string(daemon).unwrap();
        let text = |source: &str, before: &str| {
            let (_, rest) = source.split_once(before).unwrap_or_else(|| panic!("{before}"));
            rest.split('"').next().unwrap().to_owned()
        };
        for (theirs, ours) in
            [("service", "NAME"), ("path", "PATH"), ("interface", "INTERFACE"), ("method", "EXECUTE")]
        {
            let called = text(&provider, &format!("constexpr auto {theirs} = \""));
            assert_eq!(called, text(&daemon, &format!("const {ours}: &str = \"")));
        }
    }

    #[test]
    fn the_command_is_the_same_in_all_that_ipmid_is_told() {
        let command = inband_ipmi::wire::COMMAND;
        let options = read(&format!("{PROVIDER}/meson.options"));
        assert!(options.contains(&format!("    value: {command},\n")));
        let list = read("openbmc/recipes-phosphor/ipmi/phosphor-ipmi-host/inband-whitelist.conf");
        let entry = format!("0x{:02X}:0x{command:02X} ", inband_ipmi::wire::NETFN);
        assert_eq!(list.lines().filter(|line| line.starts_with(&entry)).count(), 1);
        // What the append of ipmid's recipe adds.
        let append = read("openbmc/recipes-phosphor/ipmi/phosphor-ipmi-host_%.bbappend");
        assert!(append.contains("file://inband-whitelist.conf"));
    }

    #[test]
    fn the_bus_lets_the_daemon_be_what_it_calls_itself() {
        let policy = read("openbmc/recipes-inband/inbandd/files/inband.conf");
        let unit = read("systemd/inbandd.service");
        let user = unit.lines().find_map(|line| line.strip_prefix("User=")).unwrap();
        assert!(policy.contains(&format!("<policy user=\"{user}\">")));
    }

    #[test]
    fn what_the_recipe_takes_from_the_tree_is_there() {
        let recipe = read(RECIPE);
        let files = folder().join(RECIPE).with_file_name("files");
        for word in recipe.split(|c: char| c.is_whitespace() || c == '"') {
            if let Some(path) = word.strip_prefix("${S}/") {
                let path = layout::workspace().join(path.trim_end_matches(['/', '*', ';']));
                assert!(path.exists(), "{}", path.display());
            } else if let Some(file) = word.strip_prefix("file://").filter(|file| !file.contains(';')) {
                assert!(files.join(file).is_file(), "{file}");
            }
        }
        let named = recipe.lines().find_map(|line| line.strip_prefix("SYSTEMD_SERVICE:${PN} = ")).unwrap();
        let mut named: Vec<&str> = named.trim_matches('"').split(' ').collect();
        // What is started with the machine; the others are started by these.
        let mut ours = Vec::new();
        for entry in fs::read_dir(folder().join("systemd")).unwrap() {
            let entry = entry.unwrap();
            if fs::read_to_string(entry.path()).unwrap().contains("[Install]") {
                ours.push(entry.file_name().into_string().unwrap());
            }
        }
        named.sort_unstable();
        ours.sort_unstable();
        assert_eq!(named, ours);
    }

    #[test]
    fn the_recipe_builds_what_the_size_is_measured_of() {
        let recipe = read(RECIPE);
        let flags = crate::arm::DAEMON.join(" ");
        let (profile, package) = flags.split_at(flags.find(" --package").unwrap());
        assert!(recipe.contains(&format!("BUILD_MODE = \"{profile}\"")));
        assert!(recipe.contains(&format!("CARGO_BUILD_FLAGS:append = \"{package}\"")));
    }

    #[test]
    fn no_rule_gives_a_device_to_everybody() {
        let mut rules = 0;
        for entry in fs::read_dir(folder().join("udev")).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            for rule in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
                let has = |part: &str| rule.split(", ").any(|field| field.starts_with(part));
                let of_a_group = has("MODE=\"0660\"") && has("GROUP=\"");
                let of_a_user = has("MODE=\"0600\"") && has("OWNER=\"");
                assert!(of_a_group || of_a_user, "{rule}");
                assert_eq!(rule.matches("MODE").count(), 1, "{rule}");
                // One device, and none that is like it.
                let on_usb = has("ATTR{idVendor}==\"") && has("ATTR{idProduct}==\"");
                let of_the_kernel =
                    has("SUBSYSTEM==\"misc\"") && has("KERNEL==\"") && !rule.contains(['*', '?', '[', '|']);
                assert!(on_usb || of_the_kernel, "{rule}");
                rules += 1;
            }
        }
        assert!(rules > 0);
    }
}
