//! Changing a key's attributes, aliases and links.

use keyark_api::endpoint::NoBody;
use keyark_api::keys::{
    AliasChange, Key, KeyAliasAdd, KeyAliasDelete, KeyLink, KeyLinkAdd, KeyLinkDelete, KeyUpdate, NewAlias,
};
use keyark_model::key::{KeyHeader, KeyName, Link, State, UsageMask};

use super::create::{aliases_add, meta_split, names_distinct, parse};
use super::{key_id_of, key_links, key_shown, link_id, version_of};
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Adds an alias, or changes or removes the one with the index.
fn alias_change(header: &mut KeyHeader, change: AliasChange) -> Result<()> {
    let AliasChange { alias, kind, index } = change;
    let Some(index) = index else {
        let alias =
            alias.ok_or_else(|| AppError::invalid("an alias to add needs `alias`; one to change, its `index`"))?;
        return aliases_add(header, vec![NewAlias { alias, kind, index: None }]);
    };
    let missing = || AppError::not_found(format_args!("the alias with index {index}"));
    let at = header.aliases.iter().position(|a| a.index == index).ok_or_else(missing)?;
    if alias.is_none() && kind.is_none() {
        header.aliases.remove(at);
        return Ok(());
    }
    if let Some(alias) = alias {
        header.aliases[at].alias = KeyName::new(alias).map_err(|e| AppError::invalid(e.to_string()))?;
    }
    if let Some(kind) = kind {
        header.aliases[at].kind = parse(&kind)?;
    }
    Ok(())
}

impl Handle<KeyUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyUpdate) -> Result<Reply<Key>> {
        let stored = ctx.key_load_mine(&r.id, r.kind.as_deref())?;
        let mut h = stored.header.clone();
        if let Some(name) = r.name {
            h.name = KeyName::new(name).map_err(|e| AppError::invalid(e.to_string()))?;
        }
        if let Some(mask) = r.usage_mask {
            let asked = UsageMask::new(mask).map_err(|e| AppError::invalid(e.to_string()))?;
            h.usage_mask = h.spec.usage(Some(asked)).map_err(|e| AppError::invalid(e.to_string()))?;
        }
        h.description = r.description.unwrap_or(h.description);
        for (label, value) in r.labels.unwrap_or_default() {
            match value {
                Some(value) => drop(h.labels.insert(label, value)),
                None => drop(h.labels.remove(&label)),
            }
        }
        let (owner, permissions, meta) = meta_split(r.meta.unwrap_or_default())?;
        h.owner_id = owner.unwrap_or(h.owner_id);
        h.permissions = permissions.unwrap_or(h.permissions);
        for (name, value) in meta {
            match value {
                serde_json::Value::Null => drop(h.meta.remove(&name)),
                value => drop(h.meta.insert(name, value)),
            }
        }
        for change in r.aliases {
            alias_change(&mut h, change)?;
        }
        names_distinct(&h)?;
        if r.unexportable == Some(false) && h.unexportable {
            return Err(AppError::invalid("unexportable cannot be taken back"));
        }
        h.unexportable = r.unexportable.unwrap_or(h.unexportable);
        h.undeletable = r.undeletable.unwrap_or(h.undeletable);
        let number = version_of(&h, r.version)?.version;
        let version = h.version_mut(number).ok_or_else(|| AppError::not_found("this version of the key"))?;
        if let Some(at) = r.activation_date {
            if version.state_at(ctx.now) != State::PreActive {
                return Err(AppError::invalid(
                    "activationDate is set while a key is Pre-Active; activate changes the state",
                ));
            }
            version.dates.activation = Some(at);
        }
        version.dates.process_start = r.process_start_date.or(version.dates.process_start);
        version.dates.protect_stop = r.protect_stop_date.or(version.dates.protect_stop);
        version.dates.deactivation = r.deactivation_date.or(version.dates.deactivation);
        version.dates.check().map_err(|e| AppError::invalid(e.to_string()))?;
        h.updated_at = ctx.now;
        let revision = ctx.commit_header(&stored, &h).await?;
        let stored = Stored { record: stored.record, header: h };
        let shown = version_of(&stored.header, Some(i64::from(number)))?;
        Ok(Reply::json(key_shown(ctx, &stored, shown, Some("meta,links"))).at(revision))
    }
}

impl Handle<KeyAliasAdd> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyAliasAdd) -> Result<Reply<Key>> {
        let stored = ctx.key_load_mine(&r.id, None)?;
        let mut h = stored.header.clone();
        aliases_add(&mut h, vec![NewAlias { alias: r.alias, kind: r.kind, index: None }])?;
        h.updated_at = ctx.now;
        let revision = ctx.commit_header(&stored, &h).await?;
        let stored = Stored { record: stored.record, header: h };
        Ok(Reply::json(key_shown(ctx, &stored, version_of(&stored.header, None)?, None)).at(revision))
    }
}

impl Handle<KeyAliasDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyAliasDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.key_load_mine(&r.id, None)?;
        let mut h = stored.header.clone();
        h.aliases.retain(|a| a.index != r.index);
        if h.aliases.len() == stored.header.aliases.len() {
            return Err(AppError::not_found("the alias"));
        }
        h.updated_at = ctx.now;
        ctx.commit_header(&stored, &h).await?;
        Ok(Reply::none())
    }
}

impl Handle<KeyLinkAdd> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyLinkAdd) -> Result<Reply<KeyLink>> {
        let stored = ctx.key_load_mine(&r.id, None)?;
        let mut h = stored.header.clone();
        let link = Link { kind: parse(&r.kind)?, target: key_id_of(&ctx.core, ctx.domain()?, &r.target)? };
        if h.links.contains(&link) {
            return Err(AppError::conflict("this link is there already"));
        }
        h.links.push(link);
        h.updated_at = ctx.now;
        ctx.commit_header(&stored, &h).await?;
        let shown = key_links(&h).pop().ok_or_else(|| AppError::internal("the new link is not there"))?;
        Ok(Reply::json(shown))
    }
}

impl Handle<KeyLinkDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyLinkDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.key_load_mine(&r.id, None)?;
        let mut h = stored.header.clone();
        h.links.retain(|l| link_id(l) != r.link);
        if h.links.len() == stored.header.links.len() {
            return Err(AppError::not_found("the link"));
        }
        h.updated_at = ctx.now;
        ctx.commit_header(&stored, &h).await?;
        Ok(Reply::none())
    }
}
