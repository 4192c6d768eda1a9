//! What the edge says it holds, against what it should have.

use proto::session::Inventory;

use super::Session;
use crate::cloudhub::session::io::{Farewell, Output};
use crate::cloudhub::session::push::Target;
use crate::cloudhub::session::slot::Slot;
use crate::desired::Plane;

impl Session {
    pub(super) fn inventoried(&mut self, inventory: Inventory, out: &mut Vec<Output>) {
        for held in inventory.held {
            // An inventory that comes late says nothing new about what was sent meanwhile.
            if self.slots.get(&held.key).is_some_and(|slot| slot.sent.is_some() || slot.confirmed.is_some()) {
                continue;
            }
            self.inventory.insert(held.key, (held.uid, held.resource_version));
        }
        if self.inventory.len() > self.settings.inventory_max {
            out.push(Output::Close(Farewell::InventoryTooLong(self.settings.inventory_max)));
            return;
        }
        if inventory.last {
            self.complete_inventory();
        }
    }

    pub(super) fn complete_inventory(&mut self) {
        self.inventory_complete = true;
        for plane in self.synced.clone() {
            self.compare(plane);
        }
    }

    /// Holds what the edge has against what it should have, once both are known.
    pub(super) fn compare(&mut self, plane: Plane) {
        if !self.inventory_complete {
            return;
        }
        let held: Vec<_> = self.inventory.extract_if(|key, _| Plane::of(&key.kind) == Some(plane)).collect();
        for (key, (uid, resource_version)) in held {
            let gone = Target::Gone { uid: uid.clone(), last: None };
            let slot = self.slots.entry(key.clone()).or_insert_with(|| Slot::new(gone));
            slot.edge_uid = Some(uid.clone());
            if let Target::Present(object) = &slot.target
                && object.uid == uid
                && object.resource_version == resource_version
            {
                slot.confirmed = Some(slot.target.version());
            }
            self.schedule(&key);
        }
    }
}
