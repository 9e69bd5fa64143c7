//! Proofs of protection: verification and drills.

use std::path::Path;
use std::time::Instant;

use keyark_api::ErrorCode;
use keyark_api::backup_instances::{BackupInstanceDrill, BackupInstanceVerify, InstanceWork};
use keyark_backup::drill::{Drill, DrillError, SignedReport, drill};
use keyark_backup::stream::heal::{Healed, heal};
use keyark_backup::stream::verify::{Depth, Verified, verify};
use keyark_backup::stream::{Catalogue, Opener, Until};
use keyark_model::protection::{InstanceHeader, Proofs, midnight};
use keyark_model::{DomainId, Id, Time};
use keyark_store::Write;

use super::view::day_of;
use super::{Instance, Reached, There};
use crate::app::backupkeys::right_of;
use crate::app::core::Core;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::{App, Handle, Reply};

/// The most days that a verification in samples may take.
const SAMPLE_LONGEST: u32 = 366;

impl From<DrillError> for AppError {
    fn from(e: DrillError) -> Self {
        match e {
            DrillError::Point(e) => e.into(),
            DrillError::Source(e) => e.into(),
            DrillError::Io(e) => e.into(),
            DrillError::Cancelled(e) => AppError::new(ErrorCode::Cancelled, e.to_string()),
            e => AppError::new(ErrorCode::ArchiveDamaged, format!("the drill failed: {e}")),
        }
    }
}

impl Ctx {
    /// The instance's streams at one destination: the named one, or else its first.
    fn there_at_one(&self, stored: &Instance, destination: Option<&str>) -> Result<Vec<There>> {
        let mut there = self.there(stored, destination)?;
        let first = there.first().map(|t| t.stored.id());
        let id = first.ok_or_else(|| AppError::invalid("the instance does not send to that destination"))?;
        there.retain(|t| t.stored.id() == id);
        Ok(there)
    }
}

impl Core {
    /// The write that notes a proof beside the instance.
    fn proof_write(&self, instance: Id, destination: Id, note: impl FnOnce(&mut Proofs)) -> Result<Vec<Write>> {
        // It may have been deleted meanwhile: then nobody needs the proof.
        let Ok(stored) = self.load::<InstanceHeader>(DomainId::ROOT, instance) else { return Ok(Vec::new()) };
        let mut header = stored.header.clone();
        note(header.proofs.entry(destination).or_default());
        Ok(vec![self.put_header(&stored, &header)?])
    }
}

impl Core {
    /// Heals a stream out of the same stream at each other destination: from where, and what was done.
    fn healed(
        &self,
        here: &Opener<'_>,
        at: &There,
        others: &[There],
        told: &Verified,
        known: Option<(u64, Time)>,
        within: &Path,
    ) -> Result<Vec<(String, Healed)>> {
        let damaged = told.findings.iter().filter(|f| f.damaged).map(|f| f.object.clone()).collect();
        let mut all = Vec::new();
        for other in others.iter().filter(|o| o.place == at.place && o.stored.id() != at.stored.id()) {
            let place = self.destination_open(&other.stored)?;
            let from = self.opener(place.as_ref())?;
            let done = heal(here, &from, &at.place, &damaged, known.map(|(number, _)| number), within)?;
            let whole = done.left.is_empty();
            all.push((other.name.clone(), done));
            if whole {
                break;
            }
        }
        Ok(all)
    }
}

/// How thoroughly a verification reads. Of a sample, days follow each other by their number: so many of them read everything.
pub fn depth_of(depth: Option<&str>, days: Option<u32>, day: Time) -> Result<Depth> {
    match (depth, days) {
        (None | Some("full"), None) => Ok(Depth::Full),
        (Some("quick"), None) => Ok(Depth::Quick),
        (Some("sample"), Some(days @ 2..=SAMPLE_LONGEST)) => {
            let turn = midnight(day).0 / 86_400_000_000;
            Ok(Depth::Sample { of: u64::from(days), turn: turn.unsigned_abs() })
        }
        (Some("sample"), _) => Err(AppError::invalid(format!("depth sample needs days, 2 to {SAMPLE_LONGEST}"))),
        (None | Some("full" | "quick"), Some(_)) => Err(AppError::invalid("days are of the depth sample")),
        (Some(_), _) => Err(AppError::invalid("depth is quick, sample or full")),
    }
}

impl Handle<BackupInstanceVerify> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceVerify) -> Result<Reply<InstanceWork>> {
        let stored = ctx.instance_own(&r.id)?;
        let day = r.day.as_deref().map_or(Ok(ctx.now), day_of)?;
        let depth = depth_of(r.depth.as_deref(), r.days, day)?;
        let there = ctx.there_at_one(&stored, r.destination.as_deref())?;
        let others = if r.heal { ctx.there(&stored, None)? } else { Vec::new() };
        let (core, app, id, now) = (ctx.core.clone(), ctx.app.clone(), stored.id(), ctx.now);
        let order = stored.header.order.clone();
        let told = order.and_then(|o| Some(self.protection.told(&core, &o, there.first()?.stored.id())));
        let known = told.and_then(|t| Some((t.number?, t.until?)));
        let job = ctx.job_beside("Backup instance verify", stored.header.domain, id, move |progress| {
            let (mut found, mut healed) = (Vec::new(), Vec::new());
            let (mut objects, mut read_objects, mut read_bytes, mut points) = (0, 0, 0, Vec::new());
            let destination = there[0].stored.id();
            for (n, there) in there.iter().enumerate() {
                let place = core.destination_open(&there.stored)?;
                let opener = core.opener(place.as_ref())?;
                // A life before this one may never have been sent here.
                if n > 0 && Catalogue::read(place.as_ref(), there.place)?.fulls.is_empty() {
                    continue;
                }
                let known = known.filter(|_| n == 0);
                let mut told = verify(&opener, &there.place, depth, known, progress)?;
                if !told.findings.is_empty() {
                    let done = core.healed(&opener, there, &others, &told, known, &app.folder.spool())?;
                    if done.iter().any(|(_, healed)| healed.changed()) {
                        told = verify(&opener, &there.place, depth, known, progress)?;
                    }
                    healed.extend(
                        done.into_iter().map(|(from, healed)| serde_json::json!({ "from": from, "healed": healed })),
                    );
                }
                objects += told.objects;
                read_objects += told.read_objects;
                read_bytes += told.read_bytes;
                found.extend(told.findings);
                points.extend(told.points);
            }
            let count = found.len() as u64;
            let writes = core.proof_write(id, destination, |p| p.verified = Some((now, count)))?;
            let result = serde_json::json!({
                "destination": there[0].name,
                "objects": objects,
                "readObjects": read_objects,
                "readBytes": read_bytes,
                "findings": found,
                "healing": healed,
                "points": points,
            });
            Ok((result, writes))
        });
        Ok(Reply::json(InstanceWork { id: id.to_string(), job_id: job.await?.to_string() }))
    }
}

impl Handle<BackupInstanceDrill> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceDrill) -> Result<Reply<InstanceWork>> {
        let stored = ctx.instance_load(&r.id)?;
        ctx.require(right_of(stored.header.domain, true))?;
        ctx.check_match(stored.revision())?;
        ctx.in_range(&stored, r.at)?;
        let there = ctx.there_at_one(&stored, r.destination.as_deref())?;
        let (core, app, id, now, at) = (ctx.core.clone(), ctx.app.clone(), stored.id(), ctx.now, r.at);
        let job = ctx.job_beside("Backup instance drill", stored.header.domain, id, move |progress| {
            let began = Instant::now();
            let until = at.map_or(Until::Newest, Until::Time);
            let Reached { there, destination, catalogue, plan } = core.reached(there, |c| c.plan(until))?;
            let _reading = app.protection.readers.reads(plan.full.time);
            let opener = core.opener(destination.as_ref())?;
            let point = opener.point(&there.place, &plan, &app.folder.spool())?;
            let known_until = catalogue.points().last().map_or(point.time, |i| i.known_until);
            let report = drill(
                &Drill {
                    point: &point,
                    destination: there.name,
                    asked: at,
                    protected_until: known_until,
                    started_at: now,
                    elapsed: &|| began.elapsed().as_millis() as u64,
                },
                progress,
            )?;
            let signed = SignedReport::of(&report, &core.signer);
            let writes = core.proof_write(id, there.stored.id(), |p| p.drilled = Some(now))?;
            Ok((serde_json::json!({ "report": report, "signed": signed }), writes))
        });
        Ok(Reply::json(InstanceWork { id: id.to_string(), job_id: job.await?.to_string() }))
    }
}
