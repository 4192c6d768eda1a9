//! Resource quantities: `quantity("1Gi").isGreaterThan(quantity("1M"))`.

use std::any::Any;
use std::cmp::Ordering;

use cel::common::types::{CelBool, CelDouble, CelInt, CelString, Type};
use cel::common::value::{StaticVal, Val};
use cel::{Env, ExecutionError};

use super::Registered;
use crate::schema::quantity::Quantity;

static TYPE: std::sync::LazyLock<Type> =
    std::sync::LazyLock::new(|| Type::new_opaque_type("kubernetes.Quantity"));

#[derive(Clone, Debug)]
struct CelQuantity(Quantity);

impl Val for CelQuantity {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<CelQuantity>().is_some_and(|other| other.0 == self.0)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for CelQuantity {}

pub(super) fn library(env: &mut Env) -> Registered {
    env.add_type((*TYPE).to_owned())?;
    cel::add_overload!(env, fn quantity: (CelString<'_>) -> Result<CelQuantity>)?;
    cel::add_overload!(env, fn is_quantity: (CelString<'_>) -> CelBool)?;
    cel::add_member_overload!(env, fn sign: (CelQuantity) -> CelInt)?;
    cel::add_member_overload!(env, fn is_integer: (CelQuantity) -> CelBool)?;
    cel::add_member_overload!(env, fn as_integer: (CelQuantity) -> Result<CelInt>)?;
    cel::add_member_overload!(env, fn as_approximate_float: (CelQuantity) -> CelDouble)?;
    cel::add_member_overload!(env, fn add: (CelQuantity, CelQuantity) -> CelQuantity)?;
    cel::add_member_overload!(env, fn sub: (CelQuantity, CelQuantity) -> CelQuantity)?;
    cel::add_member_overload!(env, fn is_greater_than: (CelQuantity, CelQuantity) -> CelBool)?;
    cel::add_member_overload!(env, fn is_less_than: (CelQuantity, CelQuantity) -> CelBool)?;
    cel::add_member_overload!(env, fn compare_to: (CelQuantity, CelQuantity) -> CelInt)?;
    Ok(())
}

fn quantity(text: &CelString<'_>) -> Result<CelQuantity, ExecutionError> {
    Quantity::parse(text.inner())
        .map(CelQuantity)
        .map_err(|error| ExecutionError::function_error("quantity", error))
}

fn is_quantity(text: &CelString<'_>) -> CelBool {
    CelBool::from(Quantity::parse(text.inner()).is_ok())
}

fn sign(this: &CelQuantity) -> CelInt {
    CelInt::from(i64::try_from(this.0.milli().signum()).unwrap_or_default())
}

fn whole(this: &CelQuantity) -> Option<i64> {
    let milli = this.0.milli();
    if milli % 1000 == 0 { i64::try_from(milli / 1000).ok() } else { None }
}

fn is_integer(this: &CelQuantity) -> CelBool {
    CelBool::from(whole(this).is_some())
}

fn as_integer(this: &CelQuantity) -> Result<CelInt, ExecutionError> {
    let error = || ExecutionError::function_error("asInteger", "cannot convert value to integer");
    whole(this).map(CelInt::from).ok_or_else(error)
}

fn as_approximate_float(this: &CelQuantity) -> CelDouble {
    CelDouble::from(this.0.milli() as f64 / 1000.0)
}

fn add(this: &CelQuantity, other: &CelQuantity) -> CelQuantity {
    CelQuantity(this.0.plus(other.0))
}

fn sub(this: &CelQuantity, other: &CelQuantity) -> CelQuantity {
    CelQuantity(this.0.minus(other.0))
}

fn is_greater_than(this: &CelQuantity, other: &CelQuantity) -> CelBool {
    CelBool::from(this.0 > other.0)
}

fn is_less_than(this: &CelQuantity, other: &CelQuantity) -> CelBool {
    CelBool::from(this.0 < other.0)
}

fn compare_to(this: &CelQuantity, other: &CelQuantity) -> CelInt {
    CelInt::from(match this.0.cmp(&other.0) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    })
}
