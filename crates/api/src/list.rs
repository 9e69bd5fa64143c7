//! The list of endpoints: the router, OpenAPI, the command line and the access test walk it.

/// Calls `$with!` with every request struct.
#[macro_export]
macro_rules! for_each_endpoint {
    ($with:ident) => {
        $with! {
            auth: TokenCreate TokenList TokenGet TokenRevoke SelfUser SelfDomains PasswordChange;
            users: UserCreate UserList UserGet UserUpdate UserDelete;
            groups: GroupCreate GroupList GroupGet GroupUpdate GroupDelete GroupUsers GroupAddUser GroupRemoveUser;
            keys: KeyCreate KeyList KeyQuery KeyLabels KeyGet KeyUpdate KeyDelete KeyUndelete KeyVersionCreate KeyVersionList
                KeyActivate KeySuspend KeyResume KeyDeactivate KeyReactivate KeyRevoke KeyArchive KeyRecover KeyDestroy KeyUndestroy KeyClone
                KeyExport KeyAliasAdd KeyAliasDelete KeyLinkList KeyLinkAdd KeyLinkDelete;
            crypto: Encrypt Decrypt Reencrypt DataKey Sign Verify Mac MacVerify Wrap Unwrap Random Encapsulate Decapsulate;
            backupkeys: BackupKeyCreate BackupKeyList BackupKeyGet BackupKeyDefault BackupKeyDelete BackupKeyDownload
                BackupKeyUpload BackupKeyInspect BackupKeyCheck BackupKeyShredPlan BackupKeyShred;
            backups: BackupCreate BackupList BackupGet BackupDelete BackupStatusGet BackupDownload BackupUpload BackupInspect
                RestoreQuery BackupRestore BackupContents;
            scp: BackupScp BackupScpStatus ScpPublicKeyGet ScpPublicKeyRotate ScpConnectionCreate ScpConnectionList ScpConnectionGet ScpConnectionUpdate
                ScpConnectionDelete ScpConnectionTry ScpConnectionTest;
            destinations: DestinationCreate DestinationList DestinationGet DestinationUpdate DestinationDelete DestinationCheck;
            backup_instances: BackupInstanceCreate BackupInstanceList BackupInstanceGet BackupInstanceEnable BackupInstanceExtend
                BackupInstanceRenew BackupInstanceDelete BackupInstanceVerify BackupInstanceDrill BackupInstanceReset BackupInstanceRotateKey;
            instance_data: BackupInstancePoints BackupInstanceData BackupInstanceRestore BackupInstanceExtract BackupInstanceDownload
                BackupInstanceUpload;
            holds: BackupInstanceHold BackupInstanceLift;
            protection: ProtectionStatus AlarmList ProtectionDestroyed;
            schedules: JobConfigCreate JobConfigList JobConfigGet JobConfigUpdate JobConfigDelete JobConfigRunNow ScheduledJobList;
            uploads: UploadCreate UploadGet UploadAppend UploadDelete;
            jobs: JobList JobGet JobCancel;
            system: SystemInfo ServicesStatus AnchorGet SystemActivate ClockAccept AuditList;
            webhooks: WebhookCreate WebhookList WebhookGet WebhookUpdate WebhookDelete WebhookTest;
            records: ClientRecordList;
            secrets: SecretCreate SecretList SecretGet SecretUpdate SecretDelete SecretExport SecretVersionCreate
                SecretVersionList SecretVersionGet SecretUndelete SecretDestroy SecretRewrap;
            policies: PolicyCreate PolicyList PolicyGet PolicyUpdate PolicyDelete PolicyRuleCreate PolicyRuleList
                PolicyRuleGet PolicyRuleUpdate PolicyRuleDelete;
            policy_sets: PolicySetCreate PolicySetList PolicySetGet PolicySetUpdate PolicySetDelete;
            domains: DomainCreate DomainList DomainGet DomainUpdate DomainDelete KekList KekGet KekRotate;
        }
    };
}

macro_rules! infos {
    ($($noun:ident: $($request:ident)*;)*) => {
        /// Every endpoint, in the order of the documentation.
        pub fn endpoints() -> Vec<$crate::EndpointInfo> {
            vec![$($($crate::EndpointInfo::of::<$crate::$noun::$request>(),)*)*]
        }
    };
}

for_each_endpoint!(infos);
