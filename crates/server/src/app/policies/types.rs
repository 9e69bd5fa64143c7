//! The types of policy, the kinds of rule, and which of them go together.

use keyark_api::policies::PolicyRules;
use serde::{Deserialize, Serialize};

use crate::app::error::{AppError, Result};

/// The types of policy, as they are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PolicyType {
    #[serde(rename = "STANDARD")]
    Standard,
    #[serde(rename = "LDT")]
    Ldt,
    #[serde(rename = "IDT")]
    Idt,
    #[serde(rename = "Cloud_Object_Storage")]
    CloudObjectStorage,
    #[serde(rename = "CSI")]
    Csi,
}

impl PolicyType {
    pub const ALL: [PolicyType; 5] =
        [PolicyType::Standard, PolicyType::Ldt, PolicyType::Idt, PolicyType::CloudObjectStorage, PolicyType::Csi];

    pub fn word(self) -> &'static str {
        match self {
            PolicyType::Standard => "STANDARD",
            PolicyType::Ldt => "LDT",
            PolicyType::Idt => "IDT",
            PolicyType::CloudObjectStorage => "Cloud_Object_Storage",
            PolicyType::Csi => "CSI",
        }
    }

    /// From the wire, in any case.
    pub fn from_word(word: &str) -> Result<PolicyType> {
        let found = PolicyType::ALL.into_iter().find(|t| t.word().eq_ignore_ascii_case(word));
        found.ok_or_else(|| AppError::invalid("policy_type is STANDARD, LDT, IDT, Cloud_Object_Storage or CSI"))
    }

    /// Whether policies of this type have rules of a kind.
    pub fn has(self, rules: RuleType) -> bool {
        use PolicyType::{CloudObjectStorage, Csi, Idt, Ldt, Standard};
        match rules {
            RuleType::Security => true,
            RuleType::Key => matches!(self, Standard | CloudObjectStorage | Csi),
            RuleType::Ldt => self == Ldt,
            RuleType::Idt => self == Idt,
            RuleType::DataTransform => self == Standard,
            RuleType::Signature => matches!(self, Standard | Ldt | Csi),
        }
    }
}

/// The kinds of rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleType {
    Security,
    Key,
    Ldt,
    Idt,
    DataTransform,
    Signature,
}

impl RuleType {
    pub const ALL: [RuleType; 6] =
        [RuleType::Security, RuleType::Key, RuleType::Ldt, RuleType::Idt, RuleType::DataTransform, RuleType::Signature];

    /// The word in a path.
    pub fn word(self) -> &'static str {
        match self {
            RuleType::Security => "securityrules",
            RuleType::Key => "keyrules",
            RuleType::Ldt => "ldtkeyrules",
            RuleType::Idt => "idtkeyrules",
            RuleType::DataTransform => "datatxrules",
            RuleType::Signature => "signaturerules",
        }
    }

    /// The field of a policy that holds them.
    pub fn field(self) -> &'static str {
        match self {
            RuleType::Security => "security_rules",
            RuleType::Key => "key_rules",
            RuleType::Ldt => "ldt_key_rules",
            RuleType::Idt => "idt_key_rules",
            RuleType::DataTransform => "data_transform_rules",
            RuleType::Signature => "signature_rules",
        }
    }

    /// From a path; another word is a path that does not exist.
    pub fn from_word(word: &str) -> Result<RuleType> {
        let found = RuleType::ALL.into_iter().find(|t| t.word() == word);
        found.ok_or_else(|| AppError::not_found(format_args!("the kind of rule {word:?}")))
    }

    /// How many of them there are.
    pub fn count(self, rules: &PolicyRules) -> usize {
        match self {
            RuleType::Security => rules.security_rules.len(),
            RuleType::Key => rules.key_rules.len(),
            RuleType::Ldt => rules.ldt_key_rules.len(),
            RuleType::Idt => rules.idt_key_rules.len(),
            RuleType::DataTransform => rules.data_transform_rules.len(),
            RuleType::Signature => rules.signature_rules.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{PolicyType, RuleType};

    #[test]
    fn types_are_read_in_any_case_and_written_in_one() {
        for (given, written) in [
            ("Standard", Some("STANDARD")),
            ("ldt", Some("LDT")),
            ("Idt", Some("IDT")),
            ("CLOUD_OBJECT_STORAGE", Some("Cloud_Object_Storage")),
            ("csi", Some("CSI")),
            ("COS", None),
            ("", None),
        ] {
            assert_eq!(PolicyType::from_word(given).ok().map(PolicyType::word), written, "{given}");
        }
        for policy_type in PolicyType::ALL {
            assert_eq!(serde_json::to_value(policy_type).unwrap(), json!(policy_type.word()));
        }
        for list in RuleType::ALL {
            assert_eq!(RuleType::from_word(list.word()).unwrap(), list);
        }
        assert!(RuleType::from_word("Security").is_err());
    }
}
