//! What a schedule does: its operation with what that is told, and who may order it.

use keyark_api::schedules::{DatabaseBackupParams, InstanceParams, KeyRotationParams};
use keyark_model::DomainId;
use keyark_model::access::{Right, Role, Roles};
use keyark_model::schedule::ScheduleHeader;
use serde_json::Value;

use crate::app::backupkeys::{right_of, scope_of};
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::instances::proofs::depth_of;

/// The operation that makes a backup, in the words of the wire.
pub const DATABASE_BACKUP: &str = "database_backup";

/// An operation.
pub enum Work {
    Backup(DatabaseBackupParams),
    Rotation(KeyRotationParams),
    Verification(InstanceParams),
    Drill(InstanceParams),
    Retention(InstanceParams),
}

/// Parameters as they came: each operation takes those of its own name alone.
#[derive(Default)]
pub struct Given {
    pub backup: Option<DatabaseBackupParams>,
    pub instance: Option<InstanceParams>,
    pub rotation: Option<KeyRotationParams>,
}

impl Given {
    pub fn any(&self) -> bool {
        self.backup.is_some() || self.instance.is_some() || self.rotation.is_some()
    }
}

impl Work {
    pub fn given(operation: &str, given: Given) -> Result<Work> {
        match (operation, given.backup, given.instance, given.rotation) {
            (DATABASE_BACKUP, backup, None, None) => Ok(Work::Backup(backup.unwrap_or_default())),
            ("key_rotation", None, None, Some(p)) => Ok(Work::Rotation(p)),
            ("verification", None, Some(p), None) => Ok(Work::Verification(p)),
            ("drill", None, Some(p), None) => Ok(Work::Drill(p)),
            ("retention", None, Some(p), None) => Ok(Work::Retention(p)),
            (DATABASE_BACKUP, ..) => Err(AppError::invalid("database_backup takes database_backup_params alone")),
            ("key_rotation", ..) => Err(AppError::invalid("key_rotation takes key_rotation_params alone")),
            ("verification" | "drill" | "retention", ..) => {
                Err(AppError::invalid(format!("{operation} takes instance_params alone")))
            }
            _ => Err(AppError::invalid("operation is database_backup, key_rotation, verification, drill or retention")),
        }
    }

    /// As a schedule remembers it.
    pub fn of(h: &ScheduleHeader) -> Result<Work> {
        fn read<T: serde::de::DeserializeOwned>(h: &ScheduleHeader) -> Result<T> {
            serde_json::from_value(h.params.clone())
                .map_err(|e| AppError::internal(format!("parameters of the schedule {:?}: {e}", h.name)))
        }
        Ok(match h.operation.as_str() {
            DATABASE_BACKUP => Work::Backup(read(h)?),
            "key_rotation" => Work::Rotation(read(h)?),
            "verification" => Work::Verification(read(h)?),
            "retention" => Work::Retention(read(h)?),
            _ => Work::Drill(read(h)?),
        })
    }

    /// What a schedule remembers of it.
    pub fn value(&self) -> Result<Value> {
        match self {
            Work::Backup(p) => serde_json::to_value(p),
            Work::Rotation(p) => serde_json::to_value(p),
            Work::Verification(p) | Work::Drill(p) | Work::Retention(p) => serde_json::to_value(p),
        }
        .map_err(AppError::internal)
    }

    /// The right that whoever orders it needs.
    pub fn right(&self, ctx: &Ctx, domain: DomainId) -> Result<Right> {
        let (instance, restore) = match self {
            Work::Backup(p) => return Ok(right_of(scope_of(ctx, p.scope.as_deref())?, false)),
            Work::Rotation(_) => return Ok(Right::KeyWrite),
            Work::Verification(p) | Work::Retention(p) => (&p.instance, false),
            Work::Drill(p) => (&p.instance, true),
        };
        // Of an instance that is gone the schedule is the domain's own.
        let scope = ctx.instance_load(instance).map_or(Some(domain), |i| i.header.domain);
        Ok(right_of(scope, restore))
    }

    /// The roles that its runs have in the schedule's domain.
    pub fn roles(&self) -> Roles {
        let roles: &[Role] = match self {
            Work::Rotation(_) => &[Role::KeyAdmins],
            _ => &[Role::BackupAdmins, Role::RestoreAdmins],
        };
        Roles::from_names(roles.iter().map(|r| r.name()))
    }

    /// Refuses what could never run, and who may not order it.
    pub fn check(&self, ctx: &Ctx) -> Result<()> {
        let right = self.right(ctx, ctx.domain()?)?;
        match self {
            Work::Backup(p) => {
                ctx.require(right)?;
                backup_check(ctx, p)
            }
            Work::Rotation(p) => {
                ctx.require(right)?;
                match (&p.key, &p.name) {
                    (Some(key), None) => ctx.key_load_mine(key, None).map(drop),
                    (None, Some(pattern)) if !pattern.trim().is_empty() => Ok(()),
                    _ => Err(AppError::invalid("key_rotation takes a `key`, or a `name` that keys fit (`*` fits all)")),
                }
            }
            Work::Verification(p) | Work::Drill(p) | Work::Retention(p) => {
                ctx.instance_load(&p.instance)?;
                ctx.require(right)?;
                match self {
                    Work::Verification(p) => drop(depth_of(p.depth.as_deref(), p.days, ctx.now)?),
                    _ if p.depth.is_some() || p.days.is_some() => {
                        return Err(AppError::invalid("depth and days are of a verification"));
                    }
                    _ => {}
                }
                p.destination.as_ref().map_or(Ok(()), |d| ctx.core.destination_load(d).map(drop))
            }
        }
    }
}

fn backup_check(ctx: &Ctx, p: &DatabaseBackupParams) -> Result<()> {
    match (p.do_scp, &p.connection) {
        (true, Some(connection)) => drop(ctx.connection_load(connection)?),
        (false, None) => {}
        (true, None) => return Err(AppError::invalid("do_scp needs a `connection`")),
        (false, Some(_)) => return Err(AppError::invalid("a `connection` goes with do_scp")),
    }
    if p.tied_to_hsm {
        return Err(AppError::invalid("tiedToHSM needs an HSM root of trust; this system has a file"));
    }
    if p.retention_count == Some(0) {
        return Err(AppError::invalid("retentionCount is 1 or more; leave it out to keep all"));
    }
    Ok(())
}
