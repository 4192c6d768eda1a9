//! Node ports.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::{Api, Target, all, has_health_check, has_node_ports, invalid, is_balanced};
use crate::schema::Json;
use crate::status::{FieldError, Status};

const RANGE: RangeInclusive<i64> = 30000..=32767;
/// Where ports are drawn from first: those below are left to those who ask for one.
const DYNAMIC: RangeInclusive<i64> = 30086..=32767;
/// How often a port is drawn that turns out to be taken, before all are tried.
const DRAWS: usize = 64;

/// All node ports of a service.
pub(super) fn of(service: &Value) -> Vec<i64> {
    let ports = service.list("/spec/ports").iter().map(|port| port.int("/nodePort"));
    let all = ports.chain([service.int("/spec/healthCheckNodePort")]);
    all.flatten().filter(|port| *port != 0).collect()
}

/// A manifest that leaves node ports out does not mean to change them: ports keep theirs by name.
pub(super) fn keep(old: &Value, new: &mut Value) {
    if has_health_check(old)
        && has_health_check(new)
        && new.int("/spec/healthCheckNodePort").unwrap_or(0) == 0
    {
        new["spec"]["healthCheckNodePort"] = old["spec"]["healthCheckNodePort"].clone();
    }
    if !has_node_ports(old) || !has_node_ports(new) {
        return;
    }
    let before: BTreeMap<&str, i64> =
        old.list("/spec/ports").iter().map(|port| (port.text("/name"), asked(port))).collect();
    let known: Vec<i64> = before.values().copied().collect();
    let mut used: BTreeSet<i64> = of(new).into_iter().filter(|port| known.contains(port)).collect();
    for port in new.list_mut("/spec/ports") {
        let had = before.get(port.text("/name")).copied().unwrap_or(0);
        if asked(port) == 0 && had != 0 && used.insert(had) {
            port.put("nodePort", had);
        }
    }
}

/// Takes node ports away if all of them are `known`, or else none.
pub(super) fn drop_known(known: &[i64], service: &mut Value) {
    if !of(service).iter().all(|port| known.contains(port)) {
        return;
    }
    for port in service.list_mut("/spec/ports") {
        port.as_object_mut().and_then(|port| port.shift_remove("nodePort"));
    }
}

/// Gives node ports to all ports that need one, and checks those that are asked for. The service `had` some before.
pub(super) fn allocate(api: &Api, target: &Target, service: &mut Value, had: &[i64]) -> Result<(), Status> {
    if !has_node_ports(service) || !is_open(service, had) {
        return Ok(());
    }
    let others = all(api, "", "services", None).into_iter();
    let others =
        others.filter(|(key, _)| (&*key.namespace, &*key.name) != (&*target.namespace, &*target.name));
    let taken = others.flat_map(|(_, other)| of(&other)).collect();
    assign(service, had, taken).map_err(|failure| match failure {
        Failure::Wrong(wrong) => invalid(service, wrong),
        Failure::Full => Status::internal("failed to allocate a nodePort: range is full"),
    })
}

/// Whether anything has to be given or checked.
fn is_open(service: &Value, had: &[i64]) -> bool {
    let settled = |port: i64| port != 0 && had.contains(&port);
    let health = service.int("/spec/healthCheckNodePort").unwrap_or(0);
    service.list("/spec/ports").iter().any(|port| !settled(asked(port)))
        || has_health_check(service) && !settled(health)
}

#[derive(Debug)]
enum Failure {
    Wrong(FieldError),
    Full,
}

fn assign(service: &mut Value, had: &[i64], mut taken: BTreeSet<i64>) -> Result<(), Failure> {
    let gives = !is_balanced(service)
        || service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
    // The same port in several protocols has the same node port.
    let mut by_port = BTreeMap::<i64, i64>::new();
    for (index, port) in service.list("/spec/ports").iter().enumerate() {
        let (number, wanted) = (port.int("/port").unwrap_or(0), asked(port));
        if wanted == 0 || by_port.get(&number) == Some(&wanted) {
            continue;
        }
        let field = format!("spec.ports[{index}].nodePort");
        claim(field, wanted, had, &mut taken)?;
        by_port.entry(number).or_insert(wanted);
    }
    for port in service.list_mut("/spec/ports").iter_mut().filter(|port| gives && asked(port) == 0) {
        let number = port.int("/port").unwrap_or(0);
        let given = match by_port.get(&number) {
            Some(given) => *given,
            None => draw(&mut taken)?,
        };
        by_port.insert(number, given);
        port.put("nodePort", given);
    }
    if has_health_check(service) {
        let wanted = service.int("/spec/healthCheckNodePort").unwrap_or(0);
        let given = if wanted == 0 { draw(&mut taken)? } else { wanted };
        if wanted != 0 {
            claim("spec.healthCheckNodePort".to_owned(), wanted, had, &mut taken)?;
        }
        service["spec"]["healthCheckNodePort"] = json!(given);
    }
    Ok(())
}

fn claim(field: String, wanted: i64, had: &[i64], taken: &mut BTreeSet<i64>) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::Wrong(FieldError::invalid(field.clone(), &json!(wanted), why)));
    let is_new = !had.contains(&wanted);
    if is_new && !RANGE.contains(&wanted) {
        return refuse(&format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            RANGE.start(),
            RANGE.end()
        ));
    }
    if !taken.insert(wanted) && is_new {
        return refuse("provided port is already allocated");
    }
    Ok(())
}

fn draw(taken: &mut BTreeSet<i64>) -> Result<i64, Failure> {
    let random = std::iter::repeat_with(|| fastrand::i64(DYNAMIC)).take(DRAWS);
    let free = random.chain(DYNAMIC).chain(RANGE).find(|port| !taken.contains(port)).ok_or(Failure::Full)?;
    taken.insert(free);
    Ok(free)
}

fn asked(port: &Value) -> i64 {
    port.int("/nodePort").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(kind: &str, ports: Value) -> Value {
        json!({"spec": {"type": kind, "ports": ports}})
    }

    fn assigned(mut service: Value, had: &[i64], taken: &[i64]) -> Result<Value, String> {
        match assign(&mut service, had, taken.iter().copied().collect()) {
            Ok(()) => Ok(service["spec"]["ports"].take()),
            Err(Failure::Wrong(wrong)) => Err(format!("{wrong:?}")),
            Err(Failure::Full) => Err("full".to_owned()),
        }
    }

    #[test]
    fn ports_are_given_from_the_range_and_protocols_of_one_port_share() {
        let dns = json!([
            {"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"},
            {"name": "m", "port": 9, "protocol": "TCP"},
        ]);
        let given = assigned(service("NodePort", dns), &[], &[]).unwrap();
        assert_eq!(given[0]["nodePort"], given[1]["nodePort"]);
        assert_ne!(given[0]["nodePort"], given[2]["nodePort"]);
        assert!(DYNAMIC.contains(&given[2].int("/nodePort").unwrap()));
    }

    #[test]
    fn the_last_free_port_is_found_and_then_there_is_none() {
        let all_but: Vec<i64> = RANGE.filter(|port| *port != 30005).collect();
        let given = assigned(service("NodePort", json!([{"port": 80}])), &[], &all_but).unwrap();
        assert_eq!(given[0]["nodePort"], 30005);
        let full = assigned(service("NodePort", json!([{"port": 80}, {"port": 81}])), &[], &all_but);
        assert_eq!(full.unwrap_err(), "full");
    }

    #[test]
    fn what_is_taken_or_out_of_range_is_refused_unless_the_service_had_it() {
        let asks = |port: i64| service("NodePort", json!([{"port": 80, "nodePort": port}]));
        assert!(assigned(asks(30000), &[], &[30000]).unwrap_err().contains("already allocated"));
        assert!(assigned(asks(80), &[], &[]).unwrap_err().contains("is 30000-32767"));
        assert!(assigned(asks(80), &[80], &[]).is_ok());
        let twice = json!([{"port": 80, "nodePort": 30001}, {"port": 81, "nodePort": 30001}]);
        assert!(assigned(service("NodePort", twice), &[], &[]).unwrap_err().contains("already allocated"));
    }

    #[test]
    fn a_balanced_service_may_do_without_and_has_a_health_check_if_traffic_stays_local() {
        let mut one = service("LoadBalancer", json!([{"port": 80}]));
        one["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
        one["spec"]["externalTrafficPolicy"] = json!("Local");
        assign(&mut one, &[], BTreeSet::new()).unwrap();
        assert!(one["spec"]["ports"][0].get("nodePort").is_none());
        assert!(DYNAMIC.contains(&one.int("/spec/healthCheckNodePort").unwrap()));
    }

    #[test]
    fn ports_keep_theirs_by_name_whatever_else_changes() {
        let old = service(
            "NodePort",
            json!([
                {"name": "a", "port": 1, "nodePort": 30001}, {"name": "b", "port": 2, "nodePort": 30002},
            ]),
        );
        let mut new = service("NodePort", json!([{"name": "b", "port": 7}, {"name": "c", "port": 8}]));
        keep(&old, &mut new);
        assert_eq!(
            new["spec"]["ports"],
            json!([{"name": "b", "port": 7, "nodePort": 30002}, {"name": "c", "port": 8}])
        );
        let mut swapped = service(
            "NodePort",
            json!([{"name": "a", "port": 1}, {"name": "b", "port": 2, "nodePort": 30001}]),
        );
        keep(&old, &mut swapped);
        assert!(swapped["spec"]["ports"][0].get("nodePort").is_none());
    }
}
