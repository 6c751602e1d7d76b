//! From one process to the next, without the host noticing.

use std::{
    collections::BTreeMap,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::chown,
    },
};

use inband_usb::DescriptorSet;

use super::{Gadget, Options};
use crate::{GadgetError, instance::Instance, leftovers};

impl Gadget {
    /// The open files of all prepared gadgets, each with a name that fits systemd's file-descriptor store (FDNAME: no colon,
    /// fewer than 255 bytes). As long as somebody holds them the device stays on the bus, answering nothing, when this process
    /// dies; the next one hands them to [`adopt`](Self::adopt).
    #[must_use]
    pub fn files(&self) -> Vec<(String, BorrowedFd<'_>)> {
        self.instances.iter().flat_map(Instance::files).collect()
    }

    /// As [`open`](Self::open), with the files another process of ours had open. If one of its gadgets is bound to our controller, and the
    /// first set attached is the one it shows, down to its strings, the host sees nothing: the function gets
    /// [`DeviceEvent::Enable`](inband_usb::DeviceEvent::Enable) if the device is configured. With any other set the host sees the
    /// device leave and come back. Until the first attach, whatever was bound stays on the bus.
    ///
    /// Transfers of the other process were ended by the kernel. A request it had read and not answered ends in an error for the host, at the
    /// attach. Files that do not fit are closed.
    pub fn adopt(options: Options, files: Vec<(String, OwnedFd)>) -> Result<Self, GadgetError> {
        let mut gadget = Self::new(&options)?;
        let mut groups: BTreeMap<String, Vec<(String, OwnedFd)>> = BTreeMap::new();
        for (name, file) in files {
            match name.split_once('.') {
                Some((name, role)) => {
                    groups.entry(name.to_owned()).or_default().push((role.to_owned(), file));
                }
                None => log::warn!("{name:?} is no name of a gadget's file: closed"),
            }
        }
        let ours = gadget.configfs.ours();
        for (name, files) in groups {
            match Some(name.clone())
                .filter(|name| ours.contains(name))
                .and_then(|_| Instance::adopt(name.clone(), files))
            {
                Some(instance) => gadget.instances.push(instance),
                None => {
                    log::warn!("the files of the gadget {name} are of no use any more: closed");
                    // Somebody may hold them still: configfs lets go of the gadget nevertheless.
                    if ours.contains(&name) {
                        gadget.configfs.take_away(&name)?;
                    }
                }
            }
        }
        let udc = &gadget.probe.controller.name;
        let names = gadget.instances.iter().map(|instance| &instance.name);
        let bound = |name: &&String| gadget.configfs.is_bound(name, udc);
        gadget.inherited = names.rev().find(bound).cloned();
        let in_use: Vec<_> = gadget.instances.iter().map(|instance| instance.name.as_str()).collect();
        leftovers::remove(&gadget.configfs, &in_use)?;
        Ok(gadget)
    }

    /// Lets another user attach and detach sets like this one, which is prepared if need be: configfs lets the owner of an attribute
    /// write it. Gadgets are still for root to make and to remove.
    pub fn give_to(&mut self, user: u32, group: u32, set: &DescriptorSet) -> Result<(), GadgetError> {
        let place = self.prepared(set)?;
        for file in self.configfs.changing(&self.instances[place].name, set) {
            let failed = GadgetError::system(format!("give {} to user {user}", file.display()));
            chown(&file, Some(user), Some(group)).map_err(failed)?;
        }
        Ok(())
    }

    /// Lets go of the gadgets and leaves them as they are, bound or not. The kernel takes a bound one off the bus when the last of its
    /// [`files`](Self::files) is closed, so somebody else has to have them.
    pub fn hand_over(mut self) {
        self.leave = true;
    }
}
