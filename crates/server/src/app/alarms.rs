//! What somebody must do: alarms, and the standing report of protection that they come with.

use keyark_api::backup_instances::BackupInstance;
use keyark_api::protection::{Alarm, AlarmList, Protection, ProtectionStatus};
use keyark_api::{Page, PageQuery};
use keyark_model::protection::{DestinationHeader, InstanceHeader, InstanceState};
use keyark_model::schedule::ScheduleHeader;
use keyark_model::{DomainId, Time};

use super::core::Core;
use super::ctx::Ctx;
use super::destinations::expiry_alarm;
use super::error::Result;
use super::records::Stored;
use super::schedules::DATABASE_BACKUP;
use super::{App, Handle, Reply};

/// Days after which an instance wants a new drill.
const DRILL_DAYS: i64 = 31;
/// Days before its end from which an instance warns.
const WARN_DAYS: i64 = 14;
const DAY: i64 = 86_400;
/// An instance is late when nothing arrived for so many of its intervals, and for a minute at least.
const LATE_INTERVALS: i64 = 3;
/// The disk is nearly full from here on; percent.
const DISK_FULL: u64 = 80;

/// What an instance's state asks for.
fn alarms_of(i: &BackupInstance, max_lag: i64, now: Time, out: &mut Vec<Alarm>) {
    let mut about = |destination: Option<&str>, code: &str, message: String| {
        let (resource, destination) = (i.alias.clone(), destination.map(Into::into));
        out.push(Alarm { code: code.into(), resource, destination, message });
    };
    let mut say = |code: &str, message: String| about(None, code, message);
    for warning in &i.warnings {
        let (code, message) = warning.split_once(": ").unwrap_or(("warning", warning));
        say(code, message.into());
    }
    if let Some(at) = i.expires_at {
        let renew = format!("renew it (`keyark backup-instance renew --id {}`)", i.id);
        match i.state {
            InstanceState::Expired => {
                say("instance_expired", format!("it ended at {at} and protects nothing; {renew}"))
            }
            InstanceState::Enabled if at <= now.plus_seconds(WARN_DAYS * DAY) => {
                say("instance_expires", format!("it ends at {at}; {renew}"));
            }
            _ => {}
        }
    }
    if i.state != InstanceState::Enabled {
        return;
    }
    let late = (i64::from(i.interval.unwrap_or(0)) * LATE_INTERVALS).max(60);
    match i.protected_until {
        None => say("no_point", "nothing is protected yet; look at the errors of its destinations".into()),
        Some(until) if now.0 - until.0 > late * 1_000_000 => {
            say(
                "too_old",
                format!("everything up to {until} is protected, and nothing since; look at its destinations"),
            );
        }
        Some(_) => {}
    }
    for d in &i.destinations {
        if let Some(error) = &d.error {
            about(Some(&d.name), "destination_failing", format!("{}: {error}", d.name));
        }
        match d.lag {
            Some(lag) if lag > max_lag => about(
                Some(&d.name),
                "destination_needs_full",
                format!(
                    "{}: nothing arrived for longer than log_max_lag; the log waits for it no longer, and it gets a full archive when \
                     it is back",
                    d.name
                ),
            ),
            Some(lag) if lag > late => about(
                Some(&d.name),
                "destination_lagging",
                format!("{}: it is {lag} s behind; look at its errors and limits", d.name),
            ),
            _ => {}
        }
        if let Some(findings) = d.findings.filter(|n| *n > 0) {
            about(
                Some(&d.name),
                "verification_failed",
                format!(
                    "{}: the last verification found {findings} objects or gaps; verify it again and look at the job's result",
                    d.name
                ),
            );
        }
    }
    let since = i.destinations.iter().filter_map(|d| d.drilled_at).max().or(i.enabled_at);
    if since.is_some_and(|at| now >= at.plus_seconds(DRILL_DAYS * DAY)) {
        about(
            None,
            "drill_overdue",
            format!("no drill for {DRILL_DAYS} days; run `keyark backup-instance drill --id {}`", i.id),
        );
    }
}

impl Core {
    /// Whether no instance and no schedule backs anything up.
    fn nothing_by_the_clock(&self, now: Time) -> Result<bool> {
        let enabled = |i: &Stored<InstanceHeader>| i.header.state(now) == InstanceState::Enabled;
        let due = |s: &Stored<ScheduleHeader>| s.header.operation == DATABASE_BACKUP && s.header.is_on(now);
        Ok(!self.load_all(DomainId::ROOT)?.iter().any(enabled) && !self.load_all(DomainId::ROOT)?.iter().any(due))
    }
}

impl Ctx {
    /// What somebody must do, as far as the caller may know.
    pub fn alarms(&self) -> Result<Vec<Alarm>> {
        Ok(self.protection()?.alarms)
    }

    fn protection(&self) -> Result<Protection> {
        let (mut instances, mut alarms) = (Vec::new(), self.schedule_alarms()?);
        for stored in self.core.load_all::<InstanceHeader>(DomainId::ROOT)? {
            if self.sees_scope(stored.header.domain)? {
                let shown = self.instance_shown(&stored)?;
                alarms_of(&shown, self.app.settings.max_lag(), self.now, &mut alarms);
                instances.push(shown);
            }
        }
        if self.domain()? == DomainId::ROOT {
            let mut say = |code: &str, message: String| {
                alarms.push(Alarm { code: code.into(), resource: "system".into(), destination: None, message });
            };
            if let Err(e) = self.core.writable() {
                say("store_rolled_back", e.message);
            }
            if let Some(warning) = self.app.clock_warning(&self.core, self.now) {
                say("clock_doubtful", warning);
            }
            if self.core.nothing_by_the_clock(self.now)? {
                let what = "nothing is backed up by the clock: enable a backup instance, or make a schedule of database_backup";
                say("no_schedule", what.into());
            }
            if let Some(used) = disk_used(self.app.folder.path()).filter(|used| *used >= DISK_FULL) {
                say("disk_nearly_full", format!("{used} % of the data folder's disk are used; make room"));
            }
            for stored in self.core.load_all::<DestinationHeader>(DomainId::ROOT)? {
                if let Some((code, message)) = expiry_alarm(&stored.header, self.now) {
                    let resource = stored.header.name.clone();
                    alarms.push(Alarm { code: code.into(), resource, destination: None, message });
                }
            }
            alarms.extend(self.app.webhooks.alarms(&self.core)?);
        }
        Ok(Protection { system_time: self.now, instances, alarms })
    }
}

/// Used part of a path's file system; percent.
fn disk_used(path: &std::path::Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let used = stat.f_blocks.checked_sub(stat.f_bfree)?;
    (used * 100).checked_div(used + stat.f_bavail)
}

impl Handle<ProtectionStatus> for App {
    async fn handle(&self, ctx: &Ctx, _: ProtectionStatus) -> Result<Reply<Protection>> {
        Ok(Reply::json(ctx.protection()?))
    }
}

impl Handle<AlarmList> for App {
    async fn handle(&self, ctx: &Ctx, _: AlarmList) -> Result<Reply<Page<Alarm>>> {
        Ok(Reply::json(PageQuery::from_wire(None, Some(-1)).of(ctx.alarms()?)))
    }
}

#[cfg(test)]
mod tests {
    /// The codes that a piece of source says, by how they are said there.
    fn said(source: &str) -> Vec<&str> {
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        let quoted = source.split('"').skip(1).step_by(2);
        // A warning begins with its code; everything else that is quoted so is a code.
        let codes = quoted.filter_map(|text| text.split(": ").next());
        codes.filter(|c| c.contains('_') && c.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).collect()
    }

    #[test]
    fn every_alarm_is_explained() {
        let page = include_str!("../../../../docs/alarms.md");
        let codes = said(include_str!("alarms.rs"));
        assert!(codes.contains(&"drill_overdue") && codes.contains(&"no_schedule"), "{codes:?}");
        for code in codes.into_iter().filter(|code| *code != "log_max_lag") {
            assert!(page.contains(&format!("`{code}`")), "{code} is not in docs/alarms.md");
        }
    }
}
