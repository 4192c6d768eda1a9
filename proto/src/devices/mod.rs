//! Devices: the custom resources of `devices.kubeedge.io/v1beta1`, and what the two ends say about devices over the link.
//!
//! Owns: these types and the names in them. The API server validates objects against `deploy/crds`; a report from an edge
//! is parsed here, at the border. Called by devicecontroller and devicetwin.

pub mod check;
mod mapper;
mod object;
mod report;
mod seen;
pub mod value;

pub use mapper::{MapperReport, MapperState, MapperStatus, RefusedDevice};
pub use object::{
    AccessMode, Desired, Device, DeviceMethod, DeviceModel, DeviceModelSpec, DeviceProperty, DeviceSpec,
    DeviceStatus, DeviceStatusSpec, DeviceStatusStatus, LegacyStatus, ModelProperty, ModelRef, PropertyType,
    ProtocolConfig, StateReportSpec, Twin, TwinText, Visitors,
};
pub use report::{
    DeviceState, Member, MembershipRequest, MembershipUpdate, ReportedDevice, StateUpdate, TwinEntry,
    TwinReport, TwinType, TwinValue, TwinVersion, UnknownState, ValueTime, confirm,
};
pub use seen::SeenReport;

/// The API group.
pub const GROUP: &str = "devices.kubeedge.io";

/// The API version that is served; v1alpha2 is not.
pub const VERSION: &str = "v1beta1";
