//! The mapper's own socket, where edgecore says what changed.

use std::sync::Arc;

use dmi::v1beta1::device_mapper_service_server::DeviceMapperService;
use dmi::v1beta1::{self as wire};
use tonic::{Request, Response, Status};

use crate::fleet::Fleet;
use crate::protocol::Protocol;

/// Answers edgecore.
pub(crate) struct Ear<P>(pub(crate) Arc<Fleet<P>>);

impl<P: Protocol> Ear<P> {
    async fn put(&self, device: Option<wire::Device>) -> Result<(String, String), Status> {
        let device = device.ok_or_else(|| Status::invalid_argument("device is missing"))?;
        let named = (device.name.clone(), device.namespace.clone());
        self.0.put(device).await.map_err(|wrong| Status::invalid_argument(wrong.to_string()))?;
        Ok(named)
    }

    async fn put_model(&self, model: Option<wire::DeviceModel>) -> Result<(String, String), Status> {
        let model = model.ok_or_else(|| Status::invalid_argument("model is missing"))?;
        let named = (model.name.clone(), model.namespace.clone());
        self.0.put_model(model).await;
        Ok(named)
    }
}

#[tonic::async_trait]
impl<P: Protocol> DeviceMapperService for Ear<P> {
    async fn register_device(
        &self,
        request: Request<wire::RegisterDeviceRequest>,
    ) -> Result<Response<wire::RegisterDeviceResponse>, Status> {
        let (device_name, device_namespace) = self.put(request.into_inner().device).await?;
        Ok(Response::new(wire::RegisterDeviceResponse { device_name, device_namespace }))
    }

    async fn remove_device(
        &self,
        request: Request<wire::RemoveDeviceRequest>,
    ) -> Result<Response<wire::RemoveDeviceResponse>, Status> {
        let request = request.into_inner();
        self.0.remove(&request.device_namespace, &request.device_name).await;
        Ok(Response::new(wire::RemoveDeviceResponse {}))
    }

    async fn update_device(
        &self,
        request: Request<wire::UpdateDeviceRequest>,
    ) -> Result<Response<wire::UpdateDeviceResponse>, Status> {
        self.put(request.into_inner().device).await?;
        Ok(Response::new(wire::UpdateDeviceResponse {}))
    }

    async fn create_device_model(
        &self,
        request: Request<wire::CreateDeviceModelRequest>,
    ) -> Result<Response<wire::CreateDeviceModelResponse>, Status> {
        let (device_model_name, device_model_namespace) = self.put_model(request.into_inner().model).await?;
        Ok(Response::new(wire::CreateDeviceModelResponse { device_model_name, device_model_namespace }))
    }

    async fn remove_device_model(
        &self,
        request: Request<wire::RemoveDeviceModelRequest>,
    ) -> Result<Response<wire::RemoveDeviceModelResponse>, Status> {
        let request = request.into_inner();
        self.0.remove_model(&request.model_namespace, &request.model_name).await;
        Ok(Response::new(wire::RemoveDeviceModelResponse {}))
    }

    async fn update_device_model(
        &self,
        request: Request<wire::UpdateDeviceModelRequest>,
    ) -> Result<Response<wire::UpdateDeviceModelResponse>, Status> {
        self.put_model(request.into_inner().model).await?;
        Ok(Response::new(wire::UpdateDeviceModelResponse {}))
    }

    async fn get_device(
        &self,
        request: Request<wire::GetDeviceRequest>,
    ) -> Result<Response<wire::GetDeviceResponse>, Status> {
        let request = request.into_inner();
        let device = self.0.get(&request.device_namespace, &request.device_name).await;
        let device = device.ok_or_else(|| {
            Status::not_found(format!("no device {}/{}", request.device_namespace, request.device_name))
        })?;
        Ok(Response::new(wire::GetDeviceResponse { device: Some(device) }))
    }
}
