package main

import (
	"context"
	"net"
	"time"

	dmi "skerry/v1beta1"

	"google.golang.org/grpc"
)

// How edgecore is reached.
type edgecore struct {
	target    string
	path      string
	authority string
	keep      bool
	kept      *grpc.ClientConn
}

func (e *edgecore) dial() (*grpc.ClientConn, error) {
	if e.kept != nil {
		return e.kept, nil
	}
	options := []grpc.DialOption{grpc.WithInsecure(), grpc.WithBlock()}
	if e.path != "" {
		options = append(options, grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return net.Dial("unix", e.path)
		}))
	}
	if e.authority != "" {
		options = append(options, grpc.WithAuthority(e.authority))
	}
	conn, err := grpc.Dial(e.target, options...)
	if err == nil && e.keep {
		e.kept = conn
	}
	return conn, err
}

// One call, which may take as long as it may in KubeEdge's framework.
func (e *edgecore) call(do func(context.Context, dmi.DeviceManagerServiceClient) error) error {
	conn, err := e.dial()
	if err != nil {
		return err
	}
	if !e.keep {
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return do(ctx, dmi.NewDeviceManagerServiceClient(conn))
}

func (e *edgecore) register(protocol, socket string) (given *dmi.MapperRegisterResponse, err error) {
	mapper := &dmi.MapperInfo{
		Name: "go-mapper", Version: "v1.0.0", ApiVersion: "v1.0.0", Protocol: protocol, Address: []byte(socket), State: "ok",
	}
	err = e.call(func(ctx context.Context, client dmi.DeviceManagerServiceClient) (err error) {
		given, err = client.MapperRegister(ctx, &dmi.MapperRegisterRequest{WithData: true, Mapper: mapper})
		return err
	})
	return given, err
}

func (e *edgecore) reportValue(device *dmi.Device, property, wanted, value string) error {
	metadata := map[string]string{"type": "string"}
	twin := &dmi.Twin{
		PropertyName:    property,
		ObservedDesired: &dmi.TwinProperty{Value: wanted, Metadata: metadata},
		Reported:        &dmi.TwinProperty{Value: value, Metadata: metadata},
	}
	request := &dmi.ReportDeviceStatusRequest{
		DeviceName: device.Name, DeviceNamespace: device.Namespace,
		ReportedDevice: &dmi.DeviceStatus{Twins: []*dmi.Twin{twin}},
	}
	return e.call(func(ctx context.Context, client dmi.DeviceManagerServiceClient) error {
		_, err := client.ReportDeviceStatus(ctx, request)
		return err
	})
}

func (e *edgecore) reportState(device *dmi.Device, state string) error {
	request := &dmi.ReportDeviceStatesRequest{DeviceName: device.Name, DeviceNamespace: device.Namespace, State: state}
	return e.call(func(ctx context.Context, client dmi.DeviceManagerServiceClient) error {
		_, err := client.ReportDeviceStates(ctx, request)
		return err
	})
}
