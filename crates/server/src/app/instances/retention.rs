//! What leaves an instance's destinations before the night.

use keyark_model::Id;

use super::hold::not_held;
use crate::app::backupkeys::right_of;
use crate::app::ctx::Ctx;
use crate::app::error::Result;

impl Ctx {
    /// Begins what each night does at each destination, or the named one: carries out a statement that has lain there for long
    /// enough, and makes the next.
    pub async fn instance_retain(&self, id: &str, destination: Option<&str>) -> Result<Id> {
        let stored = self.instance_load(id)?;
        self.require(right_of(stored.header.domain, false))?;
        not_held(&stored.header)?;
        let mut there = self.there(&stored, destination)?;
        there.retain(|t| t.place.incarnation == self.core.incarnation);
        let (app, core, now) = (self.app.clone(), self.core.clone(), self.app.believed());
        let (scope, id) = (stored.header.domain, stored.id());
        let job = self.job_beside("Backup instance retention", scope, id, move |_| {
            let mut told = Vec::new();
            for there in there {
                let place = core.destination_open(&there.stored)?;
                let done = app.protection.readers.retain(&core, id, place.as_ref(), there.place, now)?;
                told.push(serde_json::json!({
                    "destination": there.name,
                    "removed": done.removed.names.len() - done.kept.len().min(done.removed.names.len()),
                    "bytes": done.removed.bytes,
                    "kept": done.kept.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "announced": done.announced.names.len(),
                }));
            }
            Ok((serde_json::json!({ "destinations": told }), Vec::new()))
        });
        job.await
    }
}
