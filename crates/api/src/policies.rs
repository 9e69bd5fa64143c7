//! Policies of file encryption clients: checked data that is stored and backed up; enforcement lives with the clients.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

/// A policy with all its rules.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    pub id: String,
    pub uri: String,
    pub account: String,
    pub application: String,
    #[serde(rename = "devAccount")]
    pub dev_account: String,
    #[serde(rename = "createdAt")]
    pub created_at: Time,
    #[serde(rename = "updatedAt")]
    pub updated_at: Time,
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// STANDARD, LDT, IDT, Cloud_Object_Storage or CSI.
    pub policy_type: String,
    /// Learn mode: nothing is denied, only noted.
    pub never_deny: bool,
    pub metadata: PolicyMetadata,
    /// Counts the changes of the policy from 1.
    pub version: u64,
    #[serde(default)]
    pub security_rules: Vec<SecurityRule>,
    #[serde(default)]
    pub key_rules: Vec<KeyRule>,
    #[serde(default)]
    pub ldt_key_rules: Vec<LdtKeyRule>,
    #[serde(default)]
    pub idt_key_rules: Vec<IdtKeyRule>,
    #[serde(default)]
    pub data_transform_rules: Vec<DataTransformRule>,
    #[serde(default)]
    pub signature_rules: Vec<SignatureRule>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyMetadata {
    /// Changes are refused unless they say `force_restrict_update`.
    pub restrict_update: bool,
}

/// Every list of rules, each in the order in which the client tries them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyRules {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_rules: Vec<SecurityRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_rules: Vec<KeyRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ldt_key_rules: Vec<LdtKeyRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub idt_key_rules: Vec<IdtKeyRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_transform_rules: Vec<DataTransformRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signature_rules: Vec<SignatureRule>,
}

/// Declares a kind of rule: each has an id and a place in its list.
macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Made by the server; a rule that is sent back with its id keeps it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub id: Option<String>,
            /// Place in the list, from 1; rules without one follow in the order in which they are given.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub order_number: Option<u32>,
            $($(#[$attribute])* pub $field: $type,)*
        })*
    };
}

rules! {
    /// Who may do what to which files. Sets are named by id or name; an absent set means everybody or everything.
    SecurityRule {
        /// Separated by commas, like `read,write`; absent: every action.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        action: String,
        /// Separated by commas: permit or deny, with audit and applykey.
        effect: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user_set_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process_set_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource_set_id: Option<String>,
        /// The rule is for everybody who is not in the set.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        exclude_user_set: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        exclude_process_set: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        exclude_resource_set: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        partial_match: bool,
    }
    /// Which key encrypts which files.
    KeyRule {
        /// A key of the domain, or `clear_key`.
        key_id: String,
        /// How to read `key_id`: id, uuid, name, alias, slug or uri; all in turn by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource_set_id: Option<String>,
    }
    /// Live data transformation: from which key to which.
    LdtKeyRule {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        current_key: Option<RuleKey>,
        /// Absent in exclusion rules only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transformation_key: Option<RuleKey>,
        /// What it names is left as it is.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_exclusion_rule: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource_set_id: Option<String>,
    }
    /// In-place data transformation: from which key to which.
    IdtKeyRule {
        /// A key of the domain, or `clear_key`.
        current_key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        current_key_type: Option<String>,
        transformation_key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transformation_key_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource_set_id: Option<String>,
    }
    /// Offline transformation: the key after it.
    DataTransformRule {
        /// A key of the domain, or `clear_key`.
        key_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource_set_id: Option<String>,
    }
    /// What must be signed.
    SignatureRule {
        /// A signature set, by id or name.
        signature_set_id: String,
    }
}

/// A key in a rule of live data transformation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleKey {
    /// A key of the domain, or `clear_key`.
    pub key_id: String,
    /// id, uuid, name, alias, slug or uri; all in turn by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
}

/// A key as rules of either kind of transformation write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AnyRuleKey {
    /// In IDT rules.
    Text(String),
    /// In LDT rules.
    Object(RuleKey),
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyCreate {
    /// 1 to 256 characters, none of `< > \`; unique in the domain.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// STANDARD, LDT, IDT, Cloud_Object_Storage or CSI, in any case; it decides which lists of rules there may be.
    pub policy_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never_deny: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PolicyMetadata>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_rules: Vec<SecurityRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_rules: Vec<KeyRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ldt_key_rules: Vec<LdtKeyRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idt_key_rules: Vec<IdtKeyRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_transform_rules: Vec<DataTransformRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signature_rules: Vec<SignatureRule>,
}

/// Which policies: all conditions must hold.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    /// Default 10; -1 means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// With `*` and `?`; repeated = any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name: Vec<String>,
    /// In any case; repeated = any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_type: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never_deny: Option<bool>,
    /// name, createdAt or updatedAt, with `-` in front for the other way; default createdAt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyGet {
    /// Id or name.
    pub id: String,
}

/// What is absent stays; a list of rules that is given replaces the one that was.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyUpdate {
    /// Id or name.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never_deny: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PolicyMetadata>,
    /// Change it although its metadata restrict updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_restrict_update: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_rules: Option<Vec<SecurityRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rules: Option<Vec<KeyRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ldt_key_rules: Option<Vec<LdtKeyRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idt_key_rules: Option<Vec<IdtKeyRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_transform_rules: Option<Vec<DataTransformRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_rules: Option<Vec<SignatureRule>>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyDelete {
    /// Id or name.
    pub id: String,
}

/// Declares a struct with the fields that rules of any kind have, and those given.
macro_rules! any_rule {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
        $(#[$doc])*
        pub struct $name {
            $($(#[$attribute])* pub $field: $type,)*
            /// Place in the list, from 1; default: the end.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub order_number: Option<u32>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub action: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub effect: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub user_set_id: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub process_set_id: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub resource_set_id: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub exclude_user_set: Option<bool>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub exclude_process_set: Option<bool>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub exclude_resource_set: Option<bool>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub partial_match: Option<bool>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub key_id: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub key_type: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub current_key: Option<AnyRuleKey>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub current_key_type: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub transformation_key: Option<AnyRuleKey>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub transformation_key_type: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub is_exclusion_rule: Option<bool>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub signature_set_id: Option<String>,
        })*
    };
}

any_rule! {
    /// A rule of any kind, with the fields of its kind.
    PolicyRule {
        id: String,
        uri: String,
        account: String,
        policy_id: String,
    }
    /// Adds a rule; the kind of rule decides which fields it has.
    #[serde(deny_unknown_fields)]
    PolicyRuleCreate {
        /// Id or name of the policy.
        policy: String,
        /// securityrules, keyrules, ldtkeyrules, idtkeyrules, datatxrules or signaturerules.
        rule_type: String,
        /// One signature rule for each of these sets; the answer is the first of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        signature_set_id_list: Vec<String>,
    }
    /// Changes the fields that are given; an empty text takes a set away.
    #[serde(deny_unknown_fields)]
    PolicyRuleUpdate {
        /// Id or name of the policy.
        policy: String,
        /// securityrules, keyrules, ldtkeyrules, idtkeyrules, datatxrules or signaturerules.
        rule_type: String,
        rule_id: String,
    }
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRuleList {
    /// Id or name of the policy.
    pub policy: String,
    /// securityrules, keyrules, ldtkeyrules, idtkeyrules, datatxrules or signaturerules.
    pub rule_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRuleGet {
    /// Id or name of the policy.
    pub policy: String,
    /// securityrules, keyrules, ldtkeyrules, idtkeyrules, datatxrules or signaturerules.
    pub rule_type: String,
    pub rule_id: String,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRuleDelete {
    /// Id or name of the policy.
    pub policy: String,
    /// securityrules, keyrules, ldtkeyrules, idtkeyrules, datatxrules or signaturerules.
    pub rule_type: String,
    pub rule_id: String,
}

endpoint! {
    policy_create: PolicyCreate => Policy, POST "/v1/transparent-encryption/policies" | "/v1/transparent-encryption/policies/", Json 201, PolicyWrite, "policies create", "Creates a policy with its rules.";
    policy_list: PolicyList => Page<Policy>, GET "/v1/transparent-encryption/policies" | "/v1/transparent-encryption/policies/", Query 200, PolicyRead, "policies list", "Lists policies.";
    policy_get: PolicyGet => Policy, GET "/v1/transparent-encryption/policies/{id}", Query 200, PolicyRead, "policies get", "Shows a policy by id or name.";
    policy_update: PolicyUpdate => Policy, PATCH "/v1/transparent-encryption/policies/{id}", Json 200, PolicyWrite, "policies modify", "Changes a policy or replaces lists of its rules.";
    policy_delete: PolicyDelete => NoBody, DELETE "/v1/transparent-encryption/policies/{id}", Query 204, PolicyWrite, "policies delete", "Deletes a policy.";
    policy_rule_create: PolicyRuleCreate => PolicyRule, POST "/v1/transparent-encryption/policies/{policy}/{rule_type}", Json 201, PolicyWrite, "policies rule-create", "Adds a rule to a policy.";
    policy_rule_list: PolicyRuleList => Page<PolicyRule>, GET "/v1/transparent-encryption/policies/{policy}/{rule_type}", Query 200, PolicyRead, "policies rule-list", "Lists the rules of one kind.";
    policy_rule_get: PolicyRuleGet => PolicyRule, GET "/v1/transparent-encryption/policies/{policy}/{rule_type}/{rule_id}", Query 200, PolicyRead, "policies rule-get", "Shows a rule.";
    policy_rule_update: PolicyRuleUpdate => PolicyRule, PATCH "/v1/transparent-encryption/policies/{policy}/{rule_type}/{rule_id}", Json 200, PolicyWrite, "policies rule-modify", "Changes a rule or its place.";
    policy_rule_delete: PolicyRuleDelete => NoBody, DELETE "/v1/transparent-encryption/policies/{policy}/{rule_type}/{rule_id}", Query 204, PolicyWrite, "policies rule-delete", "Removes a rule.";
}
