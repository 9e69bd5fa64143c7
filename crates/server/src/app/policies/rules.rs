//! Rules one by one: listed, added, changed, moved and removed inside their policy.

use std::collections::HashSet;

use keyark_api::endpoint::NoBody;
use keyark_api::policies::{
    DataTransformRule, IdtKeyRule, KeyRule, LdtKeyRule, PolicyRule, PolicyRuleCreate, PolicyRuleDelete, PolicyRuleGet,
    PolicyRuleList, PolicyRuleUpdate, PolicyRules, SecurityRule, SignatureRule,
};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_model::Time;
use serde::Serialize;
use serde_json::{Map, Value};

use super::PolicyHeader;
use super::types::RuleType;
use crate::app::core::Core;
use crate::app::ctx::{Ctx, account_of, uri_of};
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// What rules of every kind have.
trait Rule {
    fn id(&mut self) -> &mut Option<String>;
    fn place(&self) -> Option<u32>;
    fn set_place(&mut self, place: Option<u32>);
}

macro_rules! rule {
    ($($name:ident)*) => {
        $(impl Rule for $name {
            fn id(&mut self) -> &mut Option<String> {
                &mut self.id
            }

            fn place(&self) -> Option<u32> {
                self.order_number
            }

            fn set_place(&mut self, place: Option<u32>) {
                self.order_number = place;
            }
        })*
    };
}

rule!(SecurityRule KeyRule LdtKeyRule IdtKeyRule DataTransformRule SignatureRule);

macro_rules! each_list {
    ($rules:expr, $do:ident($($argument:expr),*)) => {
        $do(&mut $rules.security_rules $(, $argument)*);
        $do(&mut $rules.key_rules $(, $argument)*);
        $do(&mut $rules.ldt_key_rules $(, $argument)*);
        $do(&mut $rules.idt_key_rules $(, $argument)*);
        $do(&mut $rules.data_transform_rules $(, $argument)*);
        $do(&mut $rules.signature_rules $(, $argument)*);
    };
}

/// Rules as they are stored: in their order, each with an id of its own. An id stays with a rule that is sent back
/// with it; rules of `before` are the only ones that have one already.
pub fn rules_settle(rules: &mut PolicyRules, before: &PolicyRules, now: Time) {
    let mut known = HashSet::new();
    let mut before = before.clone();
    each_list!(before, list_ids(&mut known));
    each_list!(rules, list_settle(&mut known, now));
}

/// Rules as they are shown: each with its place.
pub fn rules_number(rules: &mut PolicyRules) {
    each_list!(rules, list_number());
}

fn list_ids(list: &mut [impl Rule], ids: &mut HashSet<String>) {
    ids.extend(list.iter_mut().filter_map(|rule| rule.id().take()));
}

fn list_settle(list: &mut [impl Rule], known: &mut HashSet<String>, now: Time) {
    list.sort_by_key(|rule| rule.place().unwrap_or(u32::MAX));
    for rule in list {
        rule.set_place(None);
        if !rule.id().as_ref().is_some_and(|id| known.remove(id)) {
            *rule.id() = Some(Core::new_id(now).to_string());
        }
    }
}

fn list_number(list: &mut [impl Rule]) {
    for (rule, place) in list.iter_mut().zip(1..) {
        rule.set_place(Some(place));
    }
}

/// One list of rules as JSON, which is the same for every kind.
fn list_read(rules: &PolicyRules, kind: RuleType) -> Result<Vec<Value>> {
    let mut all = serde_json::to_value(rules).map_err(AppError::internal)?;
    match all.get_mut(kind.field()).map(Value::take) {
        Some(Value::Array(list)) => Ok(list),
        _ => Ok(Vec::new()),
    }
}

/// The rules with one list replaced; a field that this kind of rule does not have is named.
fn list_replaced(rules: &PolicyRules, kind: RuleType, list: Vec<Value>) -> Result<PolicyRules> {
    let mut all = serde_json::to_value(rules).map_err(AppError::internal)?;
    all[kind.field()] = Value::Array(list);
    serde_json::from_value(all)
        .map_err(|e| AppError::new(ErrorCode::BadRequest, format!("this is no rule of {}: {e}", kind.word())))
}

/// The fields of a rule that a request gives.
fn fields_given(request: &impl Serialize) -> Result<Map<String, Value>> {
    let Value::Object(mut fields) = serde_json::to_value(request).map_err(AppError::internal)? else {
        return Err(AppError::internal("a request that is no object"));
    };
    for name in ["policy", "rule_type", "rule_id", "order_number", "signature_set_id_list"] {
        fields.remove(name);
    }
    Ok(fields)
}

/// Where a place from 1 is in a list; the end by default.
fn index_of(place: Option<u32>, length: usize) -> Result<usize> {
    match place {
        None => Ok(length),
        Some(0) => Err(AppError::invalid("order_number counts from 1")),
        Some(place) => Ok((place as usize - 1).min(length)),
    }
}

fn find(list: &[Value], id: &str) -> Result<usize> {
    let found = list.iter().position(|rule| rule.get("id").and_then(Value::as_str) == Some(id));
    found.ok_or_else(|| AppError::not_found(format_args!("the rule {id:?}")))
}

/// A rule as the wire shows it.
fn rule_shown(stored: &Stored<PolicyHeader>, kind: RuleType, list: &[Value], index: usize) -> Result<PolicyRule> {
    let Some(Value::Object(mut rule)) = list.get(index).cloned() else {
        return Err(AppError::internal("a rule that is not in its list"));
    };
    let domain = stored.record.domain;
    let id = rule.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let path = format!("transparent-encryption:{}", kind.word());
    for (name, value) in [
        ("uri", Value::from(uri_of(domain, &path, id))),
        ("account", account_of(domain).into()),
        ("policy_id", stored.id().to_string().into()),
        ("order_number", (index + 1).into()),
    ] {
        rule.insert(name.into(), value);
    }
    serde_json::from_value(Value::Object(rule)).map_err(AppError::internal)
}

impl Ctx {
    fn rules_load(&self, policy: &str, rule_type: &str) -> Result<(Stored<PolicyHeader>, RuleType, Vec<Value>)> {
        let kind = RuleType::from_word(rule_type)?;
        let stored = self.policy_load(policy)?;
        let list = list_read(&stored.header.rules, kind)?;
        Ok((stored, kind, list))
    }

    fn rules_load_mine(&self, policy: &str, rule_type: &str) -> Result<(Stored<PolicyHeader>, RuleType, Vec<Value>)> {
        let (stored, kind, list) = self.rules_load(policy, rule_type)?;
        self.check_match(stored.revision())?;
        stored.header.may_change(false)?;
        Ok((stored, kind, list))
    }

    /// Stores a policy with one list of rules replaced.
    async fn rules_write(
        &self,
        stored: &Stored<PolicyHeader>,
        kind: RuleType,
        list: Vec<Value>,
    ) -> Result<Stored<PolicyHeader>> {
        let mut header = stored.header.clone();
        header.rules = list_replaced(&header.rules, kind, list)?;
        self.policy_write(stored, header).await
    }
}

impl Handle<PolicyRuleList> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyRuleList) -> Result<Reply<Page<PolicyRule>>> {
        let (stored, kind, list) = ctx.rules_load(&r.policy, &r.rule_type)?;
        let page = PageQuery::from_wire(r.skip, r.limit).of((0..list.len()).collect());
        let shown = page.resources.iter().map(|index| rule_shown(&stored, kind, &list, *index));
        let resources = shown.collect::<Result<_>>()?;
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total: page.total, resources }))
    }
}

impl Handle<PolicyRuleGet> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyRuleGet) -> Result<Reply<PolicyRule>> {
        let (stored, kind, list) = ctx.rules_load(&r.policy, &r.rule_type)?;
        let index = find(&list, &r.rule_id)?;
        Ok(Reply::json(rule_shown(&stored, kind, &list, index)?).at(stored.revision()))
    }
}

impl Handle<PolicyRuleCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyRuleCreate) -> Result<Reply<PolicyRule>> {
        let (stored, kind, mut list) = ctx.rules_load_mine(&r.policy, &r.rule_type)?;
        let fields = fields_given(&r)?;
        let mut new = match r.signature_set_id_list.as_slice() {
            [] => vec![fields],
            _ if kind != RuleType::Signature || !fields.is_empty() => {
                return Err(AppError::new(
                    ErrorCode::BadRequest,
                    "signature_set_id_list stands alone, and in signature rules only",
                ));
            }
            sets => sets.iter().map(|set| Map::from_iter([("signature_set_id".into(), set.clone().into())])).collect(),
        };
        for rule in &mut new {
            rule.insert("id".into(), Core::new_id(ctx.now).to_string().into());
        }
        let index = index_of(r.order_number, list.len())?;
        list.splice(index..index, new.into_iter().map(Value::Object));
        let stored = ctx.rules_write(&stored, kind, list).await?;
        let list = list_read(&stored.header.rules, kind)?;
        Ok(Reply::json(rule_shown(&stored, kind, &list, index)?).at(stored.revision()))
    }
}

impl Handle<PolicyRuleUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyRuleUpdate) -> Result<Reply<PolicyRule>> {
        let (stored, kind, mut list) = ctx.rules_load_mine(&r.policy, &r.rule_type)?;
        let mut index = find(&list, &r.rule_id)?;
        let mut rule = list.remove(index);
        for (name, value) in fields_given(&r)? {
            rule[name] = value;
        }
        if r.order_number.is_some() {
            index = index_of(r.order_number, list.len())?;
        }
        list.insert(index, rule);
        let stored = ctx.rules_write(&stored, kind, list).await?;
        let list = list_read(&stored.header.rules, kind)?;
        Ok(Reply::json(rule_shown(&stored, kind, &list, index)?).at(stored.revision()))
    }
}

impl Handle<PolicyRuleDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyRuleDelete) -> Result<Reply<NoBody>> {
        let (stored, kind, mut list) = ctx.rules_load_mine(&r.policy, &r.rule_type)?;
        list.remove(find(&list, &r.rule_id)?);
        ctx.rules_write(&stored, kind, list).await?;
        Ok(Reply::none())
    }
}

#[cfg(test)]
mod tests {
    use keyark_api::policies::{PolicyRuleCreate, PolicyRules};
    use keyark_model::Time;
    use serde_json::{Value, json};

    use super::{RuleType, fields_given, index_of, list_read, list_replaced, rules_number, rules_settle};

    fn rules(value: Value) -> PolicyRules {
        serde_json::from_value(value).unwrap()
    }

    fn ids(rules: &PolicyRules) -> Vec<String> {
        rules.key_rules.iter().map(|r| r.id.clone().unwrap()).collect()
    }

    #[test]
    fn rules_come_in_their_order_and_keep_the_ids_that_they_had() {
        let mut first = rules(json!({ "key_rules": [
            { "key_id": "last" }, { "key_id": "b", "order_number": 2 }, { "key_id": "a", "order_number": 1, "id": "mine" }
        ] }));
        rules_settle(&mut first, &PolicyRules::default(), Time(1));
        let names: Vec<_> = first.key_rules.iter().map(|r| r.key_id.as_str()).collect();
        assert_eq!(names, ["a", "b", "last"]);
        assert!(first.key_rules.iter().all(|r| r.order_number.is_none()));
        let before = ids(&first);
        assert!(!before.contains(&"mine".to_owned()));

        let mut shown = first.clone();
        rules_number(&mut shown);
        assert_eq!(shown.key_rules.iter().map(|r| r.order_number).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
        shown.key_rules.push(shown.key_rules[0].clone());
        rules_settle(&mut shown, &first, Time(2));
        let after = ids(&shown);
        let kept = after.iter().filter(|id| before.contains(id)).count();
        assert_eq!((after.len(), kept), (4, 3), "the copy got an id of its own");
    }

    #[test]
    fn one_list_is_read_and_replaced_and_foreign_fields_are_refused() {
        let given =
            rules(json!({ "key_rules": [{ "key_id": "a" }], "signature_rules": [{ "signature_set_id": "s" }] }));
        assert_eq!(list_read(&given, RuleType::Key).unwrap(), [json!({ "key_id": "a" })]);
        assert!(list_read(&given, RuleType::Ldt).unwrap().is_empty());
        let changed = list_replaced(&given, RuleType::Key, vec![json!({ "key_id": "b" })]).unwrap();
        assert_eq!((changed.key_rules[0].key_id.as_str(), changed.signature_rules.len()), ("b", 1));
        let refused = list_replaced(&given, RuleType::Key, vec![json!({ "key_id": "b", "effect": "permit" })]);
        assert!(refused.unwrap_err().message.contains("effect"));
    }

    #[test]
    fn a_request_gives_only_the_fields_of_its_rule() {
        let request: PolicyRuleCreate = serde_json::from_value(json!({
            "policy": "p", "rule_type": "ldtkeyrules", "order_number": 1, "current_key": { "key_id": "clear_key" }
        }))
        .unwrap();
        assert_eq!(Value::Object(fields_given(&request).unwrap()), json!({ "current_key": { "key_id": "clear_key" } }));
    }

    #[test]
    fn places_count_from_one_and_end_at_the_end() {
        for (place, expected) in
            [(None, Some(3)), (Some(1), Some(0)), (Some(3), Some(2)), (Some(9), Some(3)), (Some(0), None)]
        {
            assert_eq!(index_of(place, 3).ok(), expected, "{place:?}");
        }
    }
}
