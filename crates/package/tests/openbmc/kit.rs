//! OpenBMC firmware tars for tests, made by `make-tar.sh` with tar(1) and openssl(1).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::MAKE_TAR;
use inband_package::openbmc::manifest::PURPOSE;
use inband_package::{KeyRing, Kind, PublicKey, tar};
use tempfile::TempDir;

/// Bytes of a record.
pub(crate) const RECORD: usize = 10_240;

/// A private key in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// What the BMC trusts; 3,072 bits.
    System,
    /// Another one that it trusts.
    OtherSystem,
    /// What signs the images; 4,096 bits.
    Release,
    /// One that nobody trusts.
    Stranger,
}

struct Keys {
    folder: TempDir,
}

impl Keys {
    fn get() -> &'static Self {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        KEYS.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            for key in [Key::System, Key::OtherSystem, Key::Release, Key::Stranger] {
                let bits = if key == Key::Release { "rsa_keygen_bits:4096" } else { "rsa_keygen_bits:3072" };
                let path = folder.path().join(format!("{key:?}"));
                let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", bits, "-out"];
                run(Command::new("openssl").args(arguments).arg(path));
            }
            Self { folder }
        })
    }
}

impl Key {
    pub(crate) fn path(self) -> PathBuf {
        Keys::get().folder.path().join(format!("{self:?}"))
    }

    /// Its public half, as PEM.
    pub(crate) fn public_pem(self) -> String {
        String::from_utf8(run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(self.path())))
            .unwrap()
    }

    pub(crate) fn public(self) -> PublicKey {
        PublicKey::from_pem(&self.public_pem()).unwrap()
    }
}

/// A ring with both system keys.
pub(crate) fn ring() -> &'static KeyRing {
    static RING: OnceLock<KeyRing> = OnceLock::new();
    RING.get_or_init(|| {
        KeyRing::new(vec![Kind::Rsa], vec![Key::OtherSystem.public(), Key::System.public()]).unwrap()
    })
}

/// Runs a program and gives what it prints.
pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let started = command.env("LC_ALL", "C").output();
    let output = match started {
        Ok(output) => output,
        Err(error) => panic!("{command:?}: {error}; `cargo xtask packages` installs it"),
    };
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Bytes as zstd(1) compresses them with these options.
pub(crate) fn zstd(bytes: &[u8], options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    fs::write(&path, bytes).unwrap();
    run(Command::new("zstd").args(["-q", "-f", "-k", "-T0", "-c"]).args(options).arg(path))
}

/// A firmware to be released.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) manifest: String,
    /// In the order in which OpenBMC puts them into the tar.
    pub(crate) images: Vec<(&'static str, Vec<u8>)>,
    pub(crate) system: Key,
    pub(crate) key: Key,
    pub(crate) hash: &'static str,
    /// What stands in `publickey`, if it is not the key's public half.
    pub(crate) public_key: Option<String>,
    /// More for tar(1).
    pub(crate) tar_options: &'static str,
}

impl Release {
    /// Of these images, for the board `machine`.
    pub(crate) fn new(machine: &str, version: &str, images: &[(&'static str, Vec<u8>)]) -> Self {
        let manifest = format!(
            "purpose={PURPOSE}\nversion={version}\nExtendedVersion=\nKeyType=OpenBMC\nHashType=RSA-SHA256\n\
             MachineName={machine}\n"
        );
        Self {
            manifest,
            images: images.to_vec(),
            system: Key::System,
            key: Key::Release,
            hash: "sha256",
            public_key: None,
            tar_options: "",
        }
    }

    /// The tar.
    pub(crate) fn tar(&self) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("MANIFEST"), &self.manifest).unwrap();
        if let Some(pem) = &self.public_key {
            fs::write(path("publickey"), pem).unwrap();
        }
        for (name, bytes) in &self.images {
            // As in a build: links to what was made elsewhere.
            fs::write(path(&format!("build.{name}")), bytes).unwrap();
            symlink(format!("build.{name}"), path(name)).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(MAKE_TAR);
        let mut command = Command::new(script);
        command.arg("out.tar").arg(self.system.path()).arg(self.key.path()).arg(self.hash);
        command.args(self.images.iter().map(|(name, _)| name));
        run(command.current_dir(folder.path()).env("TAR_OPTIONS", self.tar_options));
        fs::read(path("out.tar")).unwrap()
    }
}

/// A tar taken apart, to be put together in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members(pub(crate) Vec<(String, Vec<u8>)>);

impl Members {
    pub(crate) fn of(tar: &[u8]) -> Self {
        let mut members = Vec::new();
        let mut at = 0;
        while tar[at] != 0 {
            let name = tar[at..at + 100].split(|byte| *byte == 0).next().unwrap();
            let digits = std::str::from_utf8(&tar[at + 124..at + 135]).unwrap();
            let length = usize::from_str_radix(digits, 8).unwrap();
            let start = at + 512;
            members.push((String::from_utf8(name.to_vec()).unwrap(), tar[start..start + length].to_vec()));
            at = start + length.next_multiple_of(512);
        }
        Self(members)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, content) in &self.0 {
            tar.extend_from_slice(&tar::header(name, content.len() as u64, 0).unwrap());
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize((tar.len() + 1024).next_multiple_of(RECORD), 0);
        tar
    }

    pub(crate) fn at(&self, name: &str) -> usize {
        self.0.iter().position(|(other, _)| other == name).unwrap()
    }

    pub(crate) fn content(&self, name: &str) -> &[u8] {
        &self.0[self.at(name)].1
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(self.at(name));
        self
    }

    pub(crate) fn with(mut self, name: &str, content: &[u8]) -> Self {
        let at = self.at(name);
        self.0[at].1 = content.to_vec();
        self
    }

    pub(crate) fn renamed(mut self, from: &str, to: &str) -> Self {
        let at = self.at(from);
        self.0[at].0 = to.to_owned();
        self
    }
}
