// Package checks has cloud.google.com/go/longrunning against a real Longshore: its OperationsClient
// and its Operation, over gRPC and over REST.
package checks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/longrunning"
	autogen "cloud.google.com/go/longrunning/autogen"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/googleapis/gax-go/v2"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// The API under `localhost` shows metadata as a Struct: the REST client refuses a packed message
// whose Go type the program does not have.
func address(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(os.Getenv("LONGSHORE_ADDRESS"))
	must(t, err)
	return "localhost:" + port
}

// Both clients; `wait` is what REST needs to know of WaitOperation, which has no path in Google's
// own definition.
func clients(t *testing.T, check func(t *testing.T, client *autogen.OperationsClient, wait func(string) []gax.CallOption)) {
	t.Run("grpc", func(t *testing.T) {
		t.Parallel()
		connection, err := grpc.NewClient(address(t), grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(t, err)
		client, err := autogen.NewOperationsClient(t.Context(), option.WithGRPCConn(connection))
		must(t, err)
		defer client.Close()
		check(t, client, func(string) []gax.CallOption { return nil })
	})
	t.Run("rest", func(t *testing.T) {
		t.Parallel()
		client, err := autogen.NewOperationsRESTClient(t.Context(),
			option.WithEndpoint("http://"+address(t)), option.WithoutAuthentication())
		must(t, err)
		defer client.Close()
		check(t, client, func(name string) []gax.CallOption {
			return []gax.CallOption{gax.WithPath("/v1/" + name + ":wait")}
		})
	})
}

func collection() string {
	return fmt.Sprintf("projects/p/locations/l%x", rand.Uint64())
}

func call(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	text, err := json.Marshal(body)
	must(t, err)
	url := "http://" + os.Getenv("LONGSHORE_ADDRESS") + "/v1/" + path
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(text))
	must(t, err)
	answer, err := http.DefaultClient.Do(request)
	must(t, err)
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, path, text)
	}
	var value map[string]any
	must(t, json.Unmarshal(text, &value))
	return value
}

// Runs a job and returns its operation's name.
func run(t *testing.T, jobType, parent string) string {
	t.Helper()
	body := map[string]any{"jobType": jobType, "input": map[string]any{"word": "hello"}}
	return call(t, http.MethodPost, parent+"/jobs:run", body)["name"].(string)
}

// The same, to its end.
func finished(t *testing.T, jobType, parent string) string {
	t.Helper()
	name := run(t, jobType, parent)
	if call(t, http.MethodPost, name+":wait", map[string]any{"timeout": "30s"})["done"] != true {
		t.Fatalf("%s is not done", name)
	}
	return name
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, is, should T) {
	t.Helper()
	if is != should {
		t.Fatalf("is %v, should be %v", is, should)
	}
}

// A future of an operation, as Google's libraries hand it out.
func future(t *testing.T, client *autogen.OperationsClient, name string) *longrunning.Operation {
	t.Helper()
	operation, err := client.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: name})
	must(t, err)
	return longrunning.InternalNewOperation(client, operation)
}

func failsWith(t *testing.T, err error, code codes.Code, reason string) *apierror.APIError {
	t.Helper()
	var failure *apierror.APIError
	if !errors.As(err, &failure) {
		t.Fatalf("is no API's error: %v", err)
	}
	equal(t, failure.GRPCStatus().Code(), code)
	equal(t, failure.Reason(), reason)
	return failure
}

func TestGet(t *testing.T) {
	clients(t, func(t *testing.T, client *autogen.OperationsClient, _ func(string) []gax.CallOption) {
		name := finished(t, "ok", collection())
		operation, err := client.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: name})
		must(t, err)
		equal(t, operation.Name, name)
		equal(t, operation.Done, true)
		var response, metadata structpb.Struct
		must(t, operation.GetResponse().UnmarshalTo(&response))
		must(t, operation.Metadata.UnmarshalTo(&metadata))
		equal(t, response.Fields["said"].GetStringValue(), "hello")
		equal(t, metadata.Fields["state"].GetStringValue(), "SUCCEEDED")
	})
}

func TestListWithPagesAndFilter(t *testing.T) {
	clients(t, func(t *testing.T, client *autogen.OperationsClient, _ func(string) []gax.CallOption) {
		parent := collection()
		done, failed := finished(t, "ok", parent), finished(t, "fail", parent)
		var stuck []string
		for range 4 {
			stuck = append([]string{run(t, "stuck", parent)}, stuck...)
		}
		list := func(filter string, size int32) (names []string) {
			t.Helper()
			request := &longrunningpb.ListOperationsRequest{Name: parent + "/operations", Filter: filter, PageSize: size}
			for operation, err := range client.ListOperations(t.Context(), request).All() {
				must(t, err)
				names = append(names, operation.Name)
			}
			return names
		}
		for _, c := range []struct {
			filter string
			size   int32
			names  []string
		}{
			{"", 0, append(slices.Clone(stuck), failed, done)},
			{"", 4, append(slices.Clone(stuck), failed, done)},
			{"done=false", 3, stuck},
			{"error:*", 0, []string{failed}},
			{"done=true AND NOT error:*", 0, []string{done}},
			{"response.value.said=hello", 0, []string{done}},
		} {
			if is := list(c.filter, c.size); !slices.Equal(is, c.names) {
				t.Fatalf("%q: is %v, should be %v", c.filter, is, c.names)
			}
		}
		request := &longrunningpb.ListOperationsRequest{Name: parent + "/operations"}
		pager := iterator.NewPager(client.ListOperations(t.Context(), request), 5, "")
		var page []*longrunningpb.Operation
		token, err := pager.NextPage(&page)
		must(t, err)
		equal(t, len(page), 5)
		equal(t, token != "", true)
	})
}

func TestWaitOperation(t *testing.T) {
	clients(t, func(t *testing.T, client *autogen.OperationsClient, wait func(string) []gax.CallOption) {
		for jobType, c := range map[string]struct {
			timeout time.Duration
			done    bool
		}{"slow": {30 * time.Second, true}, "stuck": {time.Millisecond, false}} {
			name := run(t, jobType, collection())
			request := &longrunningpb.WaitOperationRequest{Name: name, Timeout: durationpb.New(c.timeout)}
			operation, err := client.WaitOperation(t.Context(), request, wait(name)...)
			must(t, err)
			equal(t, operation.Done, c.done)
		}
	})
}

func TestFuture(t *testing.T) {
	clients(t, func(t *testing.T, client *autogen.OperationsClient, _ func(string) []gax.CallOption) {
		stuck := future(t, client, run(t, "stuck", collection()))
		must(t, stuck.Poll(t.Context(), nil))
		equal(t, stuck.Done(), false)
		running := future(t, client, run(t, "slow", collection()))
		var response, metadata structpb.Struct
		must(t, running.Wait(t.Context(), &response))
		equal(t, response.Fields["said"].GetStringValue(), "slowly")
		must(t, running.Metadata(&metadata))
		equal(t, metadata.Fields["state"].GetStringValue(), "SUCCEEDED")
		must(t, future(t, client, finished(t, "empty", collection())).Wait(t.Context(), &emptypb.Empty{}))
	})
}

func TestFutureOfFailed(t *testing.T) {
	clients(t, func(t *testing.T, client *autogen.OperationsClient, _ func(string) []gax.CallOption) {
		failed := future(t, client, run(t, "fail", collection()))
		err := failed.Wait(t.Context(), nil)
		failure, ok := apierror.FromError(err)
		equal(t, ok, true)
		equal(t, failure.GRPCStatus().Code(), codes.InvalidArgument)
		equal(t, failed.Done(), true)
	})
}

func TestFutureOfCancelled(t *testing.T) {
	clients(t, func(t *testing.T, client *autogen.OperationsClient, _ func(string) []gax.CallOption) {
		stuck := future(t, client, run(t, "stuck", collection()))
		must(t, stuck.Cancel(t.Context()))
		must(t, stuck.Cancel(t.Context()))
		failure, ok := apierror.FromError(stuck.Wait(t.Context(), nil))
		equal(t, ok, true)
		equal(t, failure.GRPCStatus().Code(), codes.Canceled)
		var metadata structpb.Struct
		must(t, stuck.Metadata(&metadata))
		equal(t, metadata.Fields["state"].GetStringValue(), "CANCELLED")
	})
}

func TestDelete(t *testing.T) {
	clients(t, func(t *testing.T, client *autogen.OperationsClient, _ func(string) []gax.CallOption) {
		name := finished(t, "ok", collection())
		must(t, future(t, client, name).Delete(t.Context()))
		_, err := client.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: name})
		failsWith(t, err, codes.NotFound, "OPERATION_NOT_FOUND")
	})
}

func TestErrors(t *testing.T) {
	clients(t, func(t *testing.T, client *autogen.OperationsClient, _ func(string) []gax.CallOption) {
		ctx, parent := context.Background(), collection()
		name := parent + "/operations/nope"
		_, err := client.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: name})
		failure := failsWith(t, err, codes.NotFound, "OPERATION_NOT_FOUND")
		equal(t, failure.Domain(), "longshore")
		equal(t, failure.Metadata()["name"], name)
		err = client.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: name})
		failsWith(t, err, codes.NotFound, "OPERATION_NOT_FOUND")
		err = client.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: name})
		failsWith(t, err, codes.NotFound, "OPERATION_NOT_FOUND")
		request := &longrunningpb.ListOperationsRequest{Name: parent + "/operations", Filter: "done = (("}
		_, err = client.ListOperations(ctx, request).Next()
		failure = failsWith(t, err, codes.InvalidArgument, "INVALID_FILTER")
		violations := failure.Details().BadRequest.FieldViolations
		equal(t, len(violations), 1)
		equal(t, violations[0].Field, "filter")
	})
}
