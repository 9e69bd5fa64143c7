//! What a backup instance holds of a date.

use keyark_api::instance_data::{BackupInstanceData, InstanceData, InstanceItem};
use keyark_backup::stream::view::{self, Category, Wanted};
use keyark_backup::stream::{NoPoint, Until};
use keyark_model::protection::midnight;
use keyark_model::{Kind, Time};

use super::Reached;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::{App, Handle, Reply};

/// Lines in one answer.
const LINES: u64 = 100;
const LINES_MOST: u64 = 10_000;
const DAY: i64 = 86_400;

fn word<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_value(text.into()).map_err(|_| AppError::invalid(what))
}

/// The beginning of a day in UTC.
pub fn day_of(date: &str) -> Result<Time> {
    let start = format!("{date}T00:00:00Z").parse::<Time>();
    start.map(midnight).map_err(|_| AppError::invalid("write a day like 2026-05-01"))
}

impl Handle<BackupInstanceData> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceData) -> Result<Reply<InstanceData>> {
        let stored = ctx.instance_load(&r.id)?;
        let start = day_of(&r.date)?;
        let end = Time(start.plus_seconds(DAY).0 - 1);
        if start > ctx.now {
            return Err(AppError::invalid("that day is still to come"));
        }
        ctx.in_range(&stored, Some(end))?;
        let kind = match r.kind.as_deref() {
            None => None,
            Some(word) if word == Kind::Key.word() => Some(Kind::Key),
            Some(word) if word == Kind::Secret.word() => Some(Kind::Secret),
            Some(_) => return Err(AppError::invalid("kind is keys or secrets")),
        };
        let what = "category is full, incremental, rotated, changed, destroyed or deleted";
        let category: Option<Category> = r.category.as_deref().map(|c| word(c, what)).transpose()?;
        let limit = r.limit.map_or(LINES, |n| u64::try_from(n).unwrap_or(LINES_MOST)).min(LINES_MOST);
        let wanted = Wanted { kind, category, skip: r.skip.unwrap_or(0), limit };
        let there = ctx.there(&stored, r.destination.as_deref())?;
        let (app, core) = (ctx.app.clone(), ctx.core.clone());
        let viewed = tokio::task::spawn_blocking(move || {
            let reached = core.reached(there, |catalogue| {
                // The day's last point, or the newest if the day is not over; its first, or the first at all.
                let last = catalogue.plan(Until::Time(end)).or_else(|e| match e {
                    NoPoint::AfterLast { last, .. } if last.time >= start => catalogue.plan(Until::Newest),
                    e => Err(e),
                });
                let first = catalogue.plan(Until::Time(start)).or_else(|e| match e {
                    NoPoint::BeforeFirst { first } if first.time <= end => catalogue.plan(Until::Number(first.number)),
                    e => Err(e),
                });
                Ok((first?, last?))
            })?;
            let Reached { there, destination, plan: (first, last), .. } = reached;
            let _reading = app.protection.readers.reads(first.full.time);
            let (opener, spool) = (core.opener(destination.as_ref())?, app.folder.spool());
            let (first, last) =
                (opener.point(&there.place, &first, &spool)?, opener.point(&there.place, &last, &spool)?);
            Ok::<_, AppError>((there.name, view::day(&first, &last, start, &wanted)?, wanted))
        });
        let (destination, view, wanted) = viewed.await.map_err(AppError::internal)??;
        let category_word = |c: &Category| serde_json::to_value(c).map(|v| v.as_str().unwrap_or_default().to_owned());
        let mut counts = std::collections::BTreeMap::new();
        for ((kind, category), n) in &view.counts {
            let of: &mut std::collections::BTreeMap<String, u64> = counts.entry(kind.word().to_owned()).or_default();
            of.insert(category_word(category).map_err(AppError::internal)?, *n);
        }
        let resources = view.items.iter().map(|i| {
            Ok(InstanceItem {
                kind: i.kind.word().into(),
                id: i.id.to_string(),
                name: i.name.clone(),
                category: category_word(&i.category).map_err(AppError::internal)?,
                version: i.version,
                state: i.state.clone(),
            })
        });
        Ok(Reply::json(InstanceData {
            date: r.date,
            destination,
            from: view.from.time,
            to: view.to.time,
            counts,
            skip: wanted.skip,
            limit: wanted.limit,
            total: view.total,
            resources: resources.collect::<Result<_>>()?,
        }))
    }
}
