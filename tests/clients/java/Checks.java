// Java's gax against a real Longshore: OperationsClient and OperationCallable, over gRPC and over REST.

import com.google.api.core.ApiFuture;
import com.google.api.core.ApiFutures;
import com.google.api.gax.core.NoCredentialsProvider;
import com.google.api.gax.grpc.GrpcTransportChannel;
import com.google.api.gax.longrunning.OperationFuture;
import com.google.api.gax.longrunning.OperationSnapshot;
import com.google.api.gax.longrunning.OperationTimedPollAlgorithm;
import com.google.api.gax.retrying.RetrySettings;
import com.google.api.gax.rpc.ApiCallContext;
import com.google.api.gax.rpc.ApiException;
import com.google.api.gax.rpc.ClientContext;
import com.google.api.gax.rpc.FixedTransportChannelProvider;
import com.google.api.gax.rpc.OperationCallSettings;
import com.google.api.gax.rpc.StatusCode.Code;
import com.google.api.gax.rpc.UnaryCallSettings;
import com.google.api.gax.rpc.UnaryCallable;
import com.google.longrunning.GetOperationRequest;
import com.google.longrunning.ListOperationsRequest;
import com.google.longrunning.Operation;
import com.google.longrunning.WaitOperationRequest;
import com.google.protobuf.Struct;
import com.google.protobuf.TypeRegistry;
import io.grpc.ManagedChannelBuilder;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Checks {
  static final String ADDRESS = System.getenv("LONGSHORE_ADDRESS");
  // The API under `localhost` shows metadata as a Struct, a type that every program has.
  static final String HOST = "localhost:" + ADDRESS.substring(ADDRESS.lastIndexOf(':') + 1);
  static final HttpClient HTTP = HttpClient.newHttpClient();

  /** What both transports can, so that each check is written once. */
  interface Client {
    Operation get(String name);

    List<List<Operation>> list(String parent, String filter, int size);

    void cancel(String name);

    void delete(String name);

    OperationFuture<Struct, Struct> follow(String name) throws Exception;
  }

  static final OperationTimedPollAlgorithm OFTEN =
      OperationTimedPollAlgorithm.create(
          RetrySettings.newBuilder()
              .setInitialRetryDelayDuration(Duration.ofMillis(50))
              .setRetryDelayMultiplier(1.5)
              .setMaxRetryDelayDuration(Duration.ofMillis(500))
              .setTotalTimeoutDuration(Duration.ofSeconds(60))
              .build());

  /** What a method of an API returns at first: here the operation of a job that runs already. */
  static <T> UnaryCallable<String, T> first(java.util.function.Function<String, T> answer) {
    return new UnaryCallable<>() {
      @Override
      public ApiFuture<T> futureCall(String name, ApiCallContext context) {
        return ApiFutures.immediateFuture(answer.apply(name));
      }
    };
  }

  static class Grpc implements Client {
    final com.google.longrunning.OperationsClient client;
    final ClientContext context;

    Grpc() throws Exception {
      var channel = GrpcTransportChannel.create(ManagedChannelBuilder.forTarget(HOST).usePlaintext().build());
      var settings = com.google.longrunning.OperationsSettings.newBuilder();
      settings.setTransportChannelProvider(FixedTransportChannelProvider.create(channel));
      settings.setCredentialsProvider(NoCredentialsProvider.create());
      settings.setEndpoint(HOST);
      var built = settings.build();
      client = com.google.longrunning.OperationsClient.create(built);
      context = ClientContext.create(built);
    }

    public Operation get(String name) {
      return client.getOperation(name);
    }

    public List<List<Operation>> list(String parent, String filter, int size) {
      var request = ListOperationsRequest.newBuilder().setName(parent).setFilter(filter).setPageSize(size).build();
      var pages = new ArrayList<List<Operation>>();
      for (var page : client.listOperations(request).iteratePages()) {
        var values = new ArrayList<Operation>();
        page.getValues().forEach(values::add);
        pages.add(values);
      }
      return pages;
    }

    public void cancel(String name) {
      client.cancelOperation(name);
    }

    public void delete(String name) {
      client.deleteOperation(name);
    }

    public OperationFuture<Struct, Struct> follow(String name) throws Exception {
      var settings =
          OperationCallSettings.<String, Struct, Struct>newBuilder()
              .setInitialCallSettings(
                  UnaryCallSettings.<String, OperationSnapshot>newUnaryCallSettingsBuilder()
                      .setSimpleTimeoutNoRetriesDuration(Duration.ofSeconds(10))
                      .build())
              .setResponseTransformer(
                  com.google.api.gax.grpc.ProtoOperationTransformers.ResponseTransformer.create(Struct.class))
              .setMetadataTransformer(
                  com.google.api.gax.grpc.ProtoOperationTransformers.MetadataTransformer.create(Struct.class))
              .setPollingAlgorithm(OFTEN)
              .build();
      // Any method that returns an operation will do: GetOperation itself.
      var call =
          com.google.api.gax.grpc.GrpcCallSettings.<String, Operation>newBuilder()
              .setMethodDescriptor(
                  io.grpc.MethodDescriptor.newBuilder(
                          new Marshaller(), io.grpc.protobuf.ProtoUtils.marshaller(Operation.getDefaultInstance()))
                      .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
                      .setFullMethodName("google.longrunning.Operations/GetOperation")
                      .build())
              .build();
      return com.google.api.gax.grpc.GrpcCallableFactory.createOperationCallable(
              call, settings, context, client.getStub())
          .futureCall(name);
    }
  }

  /** Sends a name as a GetOperationRequest. */
  static class Marshaller implements io.grpc.MethodDescriptor.Marshaller<String> {
    public java.io.InputStream stream(String name) {
      return GetOperationRequest.newBuilder().setName(name).build().toByteString().newInput();
    }

    public String parse(java.io.InputStream stream) {
      throw new UnsupportedOperationException();
    }
  }

  static class Rest implements Client {
    final com.google.api.gax.httpjson.longrunning.OperationsClient client;
    final ClientContext context;

    Rest() throws Exception {
      var settings = com.google.api.gax.httpjson.longrunning.OperationsSettings.newBuilder();
      settings.setTransportChannelProvider(
          com.google.api.gax.httpjson.InstantiatingHttpJsonChannelProvider.newBuilder()
              .setEndpoint("http://" + HOST)
              .build());
      settings.setCredentialsProvider(NoCredentialsProvider.create());
      settings.setEndpoint("http://" + HOST);
      context = ClientContext.create(settings.build());
      // Which types packed messages may have.
      var types =
          TypeRegistry.newBuilder()
              .add(Struct.getDescriptor())
              .add(com.google.protobuf.Empty.getDescriptor())
              .add(com.google.rpc.ErrorDetailsProto.getDescriptor().getMessageTypes())
              .build();
      client =
          com.google.api.gax.httpjson.longrunning.OperationsClient.create(
              com.google.api.gax.httpjson.longrunning.stub.HttpJsonOperationsStub.create(
                  context,
                  new com.google.api.gax.httpjson.longrunning.stub.HttpJsonOperationsCallableFactory(),
                  types));
    }

    public Operation get(String name) {
      return client.getOperation(name);
    }

    public List<List<Operation>> list(String parent, String filter, int size) {
      var request = ListOperationsRequest.newBuilder().setName(parent).setFilter(filter).setPageSize(size).build();
      var pages = new ArrayList<List<Operation>>();
      for (var page : client.listOperations(request).iteratePages()) {
        var values = new ArrayList<Operation>();
        page.getValues().forEach(values::add);
        pages.add(values);
      }
      return pages;
    }

    public void cancel(String name) {
      client.cancelOperation(name);
    }

    public void delete(String name) {
      client.deleteOperation(name);
    }

    public OperationFuture<Struct, Struct> follow(String name) throws Exception {
      var settings =
          OperationCallSettings.<String, Struct, Struct>newBuilder()
              .setInitialCallSettings(
                  UnaryCallSettings.<String, OperationSnapshot>newUnaryCallSettingsBuilder()
                      .setSimpleTimeoutNoRetriesDuration(Duration.ofSeconds(10))
                      .build())
              .setResponseTransformer(
                  com.google.api.gax.httpjson.ProtoOperationTransformers.ResponseTransformer.create(Struct.class))
              .setMetadataTransformer(
                  com.google.api.gax.httpjson.ProtoOperationTransformers.MetadataTransformer.create(Struct.class))
              .setPollingAlgorithm(OFTEN)
              .build();
      UnaryCallable<String, OperationSnapshot> start =
          first(it -> com.google.api.gax.httpjson.HttpJsonOperationSnapshot.create(get(it)));
      return com.google.api.gax.httpjson.HttpJsonCallableFactory.createOperationCallable(
              settings, context, client.getStub().longRunningClient(), start)
          .futureCall(name, com.google.api.gax.httpjson.HttpJsonCallContext.createDefault());
    }
  }

  static String post(String path, String body) throws Exception {
    var request =
        HttpRequest.newBuilder(URI.create("http://" + ADDRESS + "/v1/" + path))
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
    var answer = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
    same(200, answer.statusCode());
    return answer.body();
  }

  static String collection() {
    return "projects/p/locations/l" + UUID.randomUUID().toString().substring(0, 12);
  }

  static String run(String jobType, String parent) throws Exception {
    var body = "{\"jobType\": \"" + jobType + "\", \"input\": {\"word\": \"hello\"}}";
    Matcher name = Pattern.compile("\"name\": *\"([^\"]+)\"").matcher(post(parent + "/jobs:run", body));
    same(true, name.find());
    return name.group(1);
  }

  static String finished(String jobType, String parent) throws Exception {
    var name = run(jobType, parent);
    same(true, post(name + ":wait", "{\"timeout\": \"30s\"}").contains("\"done\": true"));
    return name;
  }

  static void same(Object expected, Object is) {
    if (!expected.equals(is)) throw new AssertionError("is " + is + ", should be " + expected);
  }

  static ApiException fails(Callable<?> call, Code code) throws Exception {
    try {
      call.call();
    } catch (ApiException error) {
      same(code, error.getStatusCode().getCode());
      return error;
    } catch (ExecutionException error) {
      var cause = (ApiException) error.getCause();
      same(code, cause.getStatusCode().getCode());
      return cause;
    }
    throw new AssertionError("did not fail with " + code);
  }

  static String text(Struct struct, String field) {
    return struct.getFieldsOrThrow(field).getStringValue();
  }

  static List<String> names(List<List<Operation>> pages) {
    return pages.stream().flatMap(List::stream).map(Operation::getName).toList();
  }

  static int checks = 0;
  static int failures = 0;

  interface Check {
    void run() throws Exception;
  }

  static void check(String name, Check body) {
    checks++;
    try {
      body.run();
      System.out.println("ok " + checks + " - " + name);
    } catch (Throwable error) {
      failures++;
      System.out.println("not ok " + checks + " - " + name);
      error.printStackTrace(System.out);
    }
  }

  static void all(String transport, Client client) {
    check(transport + ": get", () -> {
      var name = finished("ok", collection());
      var operation = client.get(name);
      same(name, operation.getName());
      same(true, operation.getDone());
      same("hello", text(operation.getResponse().unpack(Struct.class), "said"));
      same("SUCCEEDED", text(operation.getMetadata().unpack(Struct.class), "state"));
    });
    check(transport + ": list with pages and a filter", () -> {
      var parent = collection();
      var done = finished("ok", parent);
      var failed = finished("fail", parent);
      var stuck = new ArrayList<String>();
      for (int i = 0; i < 3; i++) stuck.add(0, run("stuck", parent));
      var all = new ArrayList<>(stuck);
      all.addAll(List.of(failed, done));
      same(all, names(client.list(parent, "", 0)));
      same(List.of(4, 1), client.list(parent, "", 4).stream().map(List::size).toList());
      same(stuck, names(client.list(parent, "done=false", 2)));
      same(List.of(failed), names(client.list(parent, "error:*", 0)));
      same(List.of(done), names(client.list(parent, "done=true AND NOT error:*", 0)));
    });
    check(transport + ": future with a result", () -> {
      var future = client.follow(run("slow", collection()));
      same("slowly", text(future.get(), "said"));
      same("SUCCEEDED", text(future.getMetadata().get(), "state"));
    });
    check(transport + ": future of a failed operation", () -> {
      var future = client.follow(run("fail", collection()));
      var error = fails(future::get, Code.INVALID_ARGUMENT);
      same(true, error.getMessage().contains("no such flavour: anchovy"));
    });
    check(transport + ": future of a cancelled operation", () -> {
      var name = run("stuck", collection());
      var future = client.follow(name);
      client.cancel(name);
      client.cancel(name);
      try {
        fails(future::get, Code.CANCELLED);
      } catch (CancellationException expected) {
        // Over REST.
      }
      same(1, client.get(name).getError().getCode());
    });
    check(transport + ": delete", () -> {
      var name = finished("ok", collection());
      client.delete(name);
      fails(() -> client.get(name), Code.NOT_FOUND);
    });
    check(transport + ": errors", () -> {
      var parent = collection();
      var name = parent + "/operations/nope";
      var missing = fails(() -> client.get(name), Code.NOT_FOUND);
      same("OPERATION_NOT_FOUND", missing.getReason());
      same("longshore", missing.getDomain());
      same(name, missing.getMetadata().get("name"));
      var invalid = fails(() -> client.list(parent, "done = ((", 0), Code.INVALID_ARGUMENT);
      same("INVALID_FILTER", invalid.getReason());
      same("filter", invalid.getErrorDetails().getBadRequest().getFieldViolations(0).getField());
    });
  }

  public static void main(String[] arguments) throws Exception {
    Logger.getLogger("").setLevel(Level.SEVERE);
    var grpc = new Grpc();
    all("grpc", grpc);
    check("grpc: wait", () -> {
      var request = WaitOperationRequest.newBuilder();
      request.setName(run("slow", collection()));
      request.setTimeout(com.google.protobuf.Duration.newBuilder().setSeconds(30));
      same(true, grpc.client.waitOperation(request.build()).getDone());
      request.setName(run("stuck", collection()));
      request.setTimeout(com.google.protobuf.Duration.newBuilder().setNanos(1_000_000));
      same(false, grpc.client.waitOperation(request.build()).getDone());
    });
    all("rest", new Rest());
    System.out.println("1.." + checks);
    // Clients keep threads of their own.
    System.exit(failures == 0 ? 0 : 1);
  }
}
