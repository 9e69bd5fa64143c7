//! Groups and their members.

use keyark_api::endpoint::NoBody;
use keyark_api::groups::{
    Group, GroupAddUser, GroupCreate, GroupDelete, GroupGet, GroupList, GroupRemoveUser, GroupUpdate, GroupUsers,
};
use keyark_api::users::{User, UserList};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_model::access::Role;
pub use keyark_model::people::GroupHeader;
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::Write;

use super::core::Core;
use super::ctx::{Ctx, wildcard};
use super::error::{AppError, Result};
use super::records::{Header, Stored};
use super::users::{UserHeader, name_allowed, user_id};
use super::{App, Handle, Reply};

impl Header for GroupHeader {
    const KIND: Kind = Kind::Group;
}

/// The names of the groups of a domain that a user is in.
pub fn groups_of(core: &Core, domain: DomainId, user: Id) -> Result<Vec<String>> {
    let groups = core.load_all::<GroupHeader>(domain)?;
    for group in &groups {
        // A header that the seal does not vouch for gives no rights.
        core.open_body(group)?;
    }
    Ok(groups.into_iter().filter(|g| g.header.members.contains(&user)).map(|g| g.header.name).collect())
}

/// The writes that take a user out of every group of a domain.
pub fn groups_without(core: &Core, domain: DomainId, user: Id, now: Time) -> Result<Vec<Write>> {
    let groups = core.load_all::<GroupHeader>(domain)?;
    groups.iter().filter(|g| g.header.members.contains(&user)).map(|g| member_removed(core, g, user, now)).collect()
}

fn member_removed(core: &Core, group: &Stored<GroupHeader>, user: Id, now: Time) -> Result<Write> {
    let mut header = group.header.clone();
    header.members.retain(|m| *m != user);
    header.updated_at = now;
    core.put_header(group, &header)
}

/// The writes that make the built-in groups of a domain, with the given members of `admin`.
pub fn groups_built_in(core: &Core, domain: DomainId, admins: &[Id], now: Time) -> Result<Vec<Write>> {
    Role::ALL
        .iter()
        .map(|role| {
            let members = if *role == Role::Admin { admins.to_vec() } else { Vec::new() };
            let header = GroupHeader {
                name: role.name().into(),
                description: String::new(),
                created_at: now,
                updated_at: now,
                members,
            };
            core.put(domain, Core::new_id(now), 1, &header, b"")
        })
        .collect()
}

fn shown(header: &GroupHeader) -> Group {
    Group {
        name: header.name.clone(),
        created_at: header.created_at,
        updated_at: header.updated_at,
        description: header.description.clone(),
        users: header.members.iter().map(|m| format!("local|{m}")).collect(),
        users_count: header.members.len() as u64,
        built_in: Role::from_name(&header.name).is_some(),
    }
}

impl Ctx {
    fn group_load(&self, name: &str) -> Result<Stored<GroupHeader>> {
        self.core.load_named(self.domain()?, name)
    }

    fn may_grant(&self, group: &str) -> Result<()> {
        if self.caller()?.roles.may_grant(group) {
            return Ok(());
        }
        Err(AppError::new(
            ErrorCode::Forbidden,
            format!("the caller may not give or take membership of {group:?}; ask an administrator"),
        ))
    }

    /// A user that may be a member here: of this domain, or of root.
    fn member_find(&self, id: &str) -> Result<Id> {
        let id = user_id(id).ok_or_else(|| AppError::not_found("the user"))?;
        let here = self.core.load::<UserHeader>(self.domain()?, id);
        match here.is_ok() || self.core.load::<UserHeader>(DomainId::ROOT, id).is_ok() {
            true => Ok(id),
            false => Err(AppError::not_found("the user")),
        }
    }
}

impl Handle<GroupCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: GroupCreate) -> Result<Reply<Group>> {
        if !name_allowed(&r.name) {
            return Err(AppError::invalid("a group name has 1 to 255 characters, none of / | \\ < >"));
        }
        let header = GroupHeader {
            name: r.name,
            description: r.description.unwrap_or_default(),
            created_at: ctx.now,
            updated_at: ctx.now,
            members: Vec::new(),
        };
        let write = ctx.core.put(ctx.domain()?, Core::new_id(ctx.now), 1, &header, b"")?;
        ctx.commit(header.name.clone(), vec![], vec![write]).await?;
        Ok(Reply::json(shown(&header)).at(1))
    }
}

impl Handle<GroupList> for App {
    async fn handle(&self, ctx: &Ctx, r: GroupList) -> Result<Reply<Page<Group>>> {
        let mut all = ctx.core.load_all::<GroupHeader>(ctx.domain()?)?;
        let member =
            r.users.as_deref().map(|u| user_id(u).ok_or_else(|| AppError::not_found("the user"))).transpose()?;
        all.retain(|g| {
            r.name.as_ref().is_none_or(|p| wildcard(p, &g.header.name))
                && member.is_none_or(|m| g.header.members.contains(&m))
        });
        let all = all.iter().map(|g| shown(&g.header)).collect();
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<GroupGet> for App {
    async fn handle(&self, ctx: &Ctx, r: GroupGet) -> Result<Reply<Group>> {
        let stored = ctx.group_load(&r.name)?;
        Ok(Reply::json(shown(&stored.header)).at(stored.revision()))
    }
}

impl Handle<GroupUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: GroupUpdate) -> Result<Reply<Group>> {
        let stored = ctx.group_load(&r.name)?;
        ctx.check_match(stored.revision())?;
        let mut header = stored.header.clone();
        header.description = r.description.unwrap_or(header.description);
        header.updated_at = ctx.now;
        let revision = ctx.commit_header(&stored, &header).await?;
        Ok(Reply::json(shown(&header)).at(revision))
    }
}

impl Handle<GroupDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: GroupDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.group_load(&r.name)?;
        ctx.check_match(stored.revision())?;
        if Role::from_name(&stored.header.name).is_some() {
            return Err(AppError::conflict("built-in groups stay; take its members out instead"));
        }
        ctx.may_grant(&stored.header.name)?;
        let write = ctx.core.delete(&stored);
        ctx.commit(stored.header.name.clone(), vec![], vec![write]).await?;
        Ok(Reply::none())
    }
}

impl Handle<GroupUsers> for App {
    async fn handle(&self, ctx: &Ctx, r: GroupUsers) -> Result<Reply<Page<User>>> {
        ctx.group_load(&r.name)?;
        let list = UserList { skip: r.skip, limit: r.limit, groups: Some(r.name), ..UserList::default() };
        self.handle(ctx, list).await
    }
}

impl Handle<GroupAddUser> for App {
    async fn handle(&self, ctx: &Ctx, r: GroupAddUser) -> Result<Reply<Group>> {
        let stored = ctx.group_load(&r.name)?;
        ctx.check_match(stored.revision())?;
        ctx.may_grant(&stored.header.name)?;
        let id = ctx.member_find(&r.user_id)?;
        let mut header = stored.header.clone();
        if header.members.contains(&id) {
            return Ok(Reply::json(shown(&header)).at(stored.revision()));
        }
        header.members.push(id);
        header.updated_at = ctx.now;
        let revision = ctx.commit_header(&stored, &header).await?;
        Ok(Reply::json(shown(&header)).at(revision))
    }
}

impl Handle<GroupRemoveUser> for App {
    async fn handle(&self, ctx: &Ctx, r: GroupRemoveUser) -> Result<Reply<NoBody>> {
        let stored = ctx.group_load(&r.name)?;
        ctx.check_match(stored.revision())?;
        ctx.may_grant(&stored.header.name)?;
        let id = user_id(&r.user_id).ok_or_else(|| AppError::not_found("the user"))?;
        if !stored.header.members.contains(&id) {
            return Ok(Reply::none());
        }
        let must = match stored.header.name == Role::Admin.name() {
            true => self.keep_an_admin(ctx, ctx.domain()?, id)?,
            false => Vec::new(),
        };
        let write = member_removed(&ctx.core, &stored, id, ctx.now)?;
        ctx.commit(stored.header.name.clone(), must, vec![write]).await?;
        Ok(Reply::none())
    }
}
