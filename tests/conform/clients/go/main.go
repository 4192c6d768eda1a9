// A mapper in Go, as KubeEdge's users have them: grpc-go on unix sockets, to edgecore and from it. Its devices are imaginary:
// a property has the value that is wanted of it.
//
// It is built without modules, from Debian's packages; tests/run.sh does that and generates the package v1beta1 from proto/dmi.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	dmi "skerry/v1beta1"

	"github.com/golang/protobuf/jsonpb"
	// Printed devices have their configuration in these.
	_ "github.com/golang/protobuf/ptypes/wrappers"
	"google.golang.org/grpc"
)

func main() {
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	target := flag.String("target", "", "what is dialled to reach edgecore, as grpc-go takes it")
	path := flag.String("path", "", "the socket that is opened whatever the target is, as mappers of KubeEdge's framework do")
	authority := flag.String("authority", "", "what edgecore is called in requests, as newer versions of grpc-go would from the target")
	keep := flag.Bool("keep", false, "one connection to edgecore for everything, in place of one for each report")
	socket := flag.String("socket", "", "where edgecore reaches this mapper")
	protocol := flag.String("protocol", "", "what its devices speak")
	ask := flag.String("ask", "", "print the device NAMESPACE/NAME of the mapper at -socket, and end")
	flag.Parse()

	if *ask != "" {
		if err := printDevice(*socket, *ask); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	edgecore := &edgecore{target: *target, path: *path, authority: *authority, keep: *keep}
	mapper := newMapper()
	for {
		given, err := edgecore.register(*protocol, *socket)
		if err == nil {
			mapper.take(given)
			break
		}
		log.Printf("edgecore refuses: %v", err)
		time.Sleep(time.Second)
	}
	go mapper.report(edgecore)

	// An earlier run that was killed has left it.
	os.Remove(*socket)
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	dmi.RegisterDeviceMapperServiceServer(server, mapper)
	log.Fatal(server.Serve(listener))
}

// Asks a running mapper by its own service.
func printDevice(socket, name string) error {
	conn, err := grpc.Dial("unix:"+socket, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	namespace, name := split(name)
	request := &dmi.GetDeviceRequest{DeviceNamespace: namespace, DeviceName: name}
	answer, err := dmi.NewDeviceMapperServiceClient(conn).GetDevice(ctx, request)
	if err != nil {
		return err
	}
	return (&jsonpb.Marshaler{}).Marshal(os.Stdout, answer.Device)
}
