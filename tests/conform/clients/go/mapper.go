package main

import (
	"context"
	"log"
	"strings"
	"sync"
	"time"

	dmi "skerry/v1beta1"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How often everything is reported.
const cycle = 200 * time.Millisecond

// What this mapper has, and the service by which edgecore changes it.
type mapper struct {
	dmi.UnimplementedDeviceMapperServiceServer
	mutex   sync.Mutex
	devices map[string]*dmi.Device
	models  map[string]*dmi.DeviceModel
}

func newMapper() *mapper {
	return &mapper{devices: map[string]*dmi.Device{}, models: map[string]*dmi.DeviceModel{}}
}

func full(namespace, name string) string {
	return namespace + "/" + name
}

func split(full string) (namespace, name string) {
	namespace, name, _ = strings.Cut(full, "/")
	return namespace, name
}

// What the registration brought.
func (m *mapper) take(given *dmi.MapperRegisterResponse) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, model := range given.ModelList {
		m.models[full(model.Namespace, model.Name)] = model
	}
	for _, device := range given.DeviceList {
		m.devices[full(device.Namespace, device.Name)] = device
	}
	log.Printf("registered devices=%d models=%d", len(m.devices), len(m.models))
}

// Reports everything, for ever.
func (m *mapper) report(edgecore *edgecore) {
	for ; ; time.Sleep(cycle) {
		for _, device := range m.all() {
			for _, property := range device.GetSpec().GetProperties() {
				if !property.ReportToCloud {
					continue
				}
				wanted := property.GetDesired().GetValue()
				value := wanted
				if value == "" {
					value = "0"
				}
				if err := edgecore.reportValue(device, property.Name, wanted, value); err != nil {
					log.Printf("report of %s of %s: %v", property.Name, device.Name, err)
				}
			}
			if device.GetStatus().GetReportToCloud() {
				if err := edgecore.reportState(device, "ok"); err != nil {
					log.Printf("state of %s: %v", device.Name, err)
				}
			}
		}
	}
}

func (m *mapper) all() []*dmi.Device {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	var all []*dmi.Device
	for _, device := range m.devices {
		all = append(all, device)
	}
	return all
}

func (m *mapper) RegisterDevice(_ context.Context, request *dmi.RegisterDeviceRequest) (*dmi.RegisterDeviceResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	device := request.Device
	name := full(device.Namespace, device.Name)
	if _, ok := m.models[full(device.Namespace, device.Spec.DeviceModelReference)]; !ok {
		return nil, status.Errorf(codes.FailedPrecondition, "the model %s is not known", device.Spec.DeviceModelReference)
	}
	m.devices[name] = device
	log.Printf("RegisterDevice %s", name)
	return &dmi.RegisterDeviceResponse{DeviceName: device.Name, DeviceNamespace: device.Namespace}, nil
}

func (m *mapper) UpdateDevice(_ context.Context, request *dmi.UpdateDeviceRequest) (*dmi.UpdateDeviceResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	name := full(request.Device.Namespace, request.Device.Name)
	if _, ok := m.devices[name]; !ok {
		return nil, status.Errorf(codes.NotFound, "the device %s is not known", name)
	}
	m.devices[name] = request.Device
	log.Printf("UpdateDevice %s", name)
	return &dmi.UpdateDeviceResponse{}, nil
}

func (m *mapper) RemoveDevice(_ context.Context, request *dmi.RemoveDeviceRequest) (*dmi.RemoveDeviceResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	name := full(request.DeviceNamespace, request.DeviceName)
	delete(m.devices, name)
	log.Printf("RemoveDevice %s", name)
	return &dmi.RemoveDeviceResponse{}, nil
}

func (m *mapper) GetDevice(_ context.Context, request *dmi.GetDeviceRequest) (*dmi.GetDeviceResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	name := full(request.DeviceNamespace, request.DeviceName)
	device, ok := m.devices[name]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "the device %s is not known", name)
	}
	return &dmi.GetDeviceResponse{Device: device}, nil
}

func (m *mapper) CreateDeviceModel(_ context.Context, request *dmi.CreateDeviceModelRequest) (*dmi.CreateDeviceModelResponse, error) {
	m.putModel("CreateDeviceModel", request.Model)
	return &dmi.CreateDeviceModelResponse{
		DeviceModelName: request.Model.Name, DeviceModelNamespace: request.Model.Namespace,
	}, nil
}

func (m *mapper) UpdateDeviceModel(_ context.Context, request *dmi.UpdateDeviceModelRequest) (*dmi.UpdateDeviceModelResponse, error) {
	m.putModel("UpdateDeviceModel", request.Model)
	return &dmi.UpdateDeviceModelResponse{}, nil
}

func (m *mapper) putModel(call string, model *dmi.DeviceModel) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	name := full(model.Namespace, model.Name)
	m.models[name] = model
	log.Printf("%s %s properties=%d", call, name, len(model.GetSpec().GetProperties()))
}

func (m *mapper) RemoveDeviceModel(_ context.Context, request *dmi.RemoveDeviceModelRequest) (*dmi.RemoveDeviceModelResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	name := full(request.ModelNamespace, request.ModelName)
	delete(m.models, name)
	log.Printf("RemoveDeviceModel %s", name)
	return &dmi.RemoveDeviceModelResponse{}, nil
}
