import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import recmesh.pb.ASRequest;
import recmesh.pb.ASResponse;
import recmesh.pb.ASServiceGrpc;
import recmesh.pb.ItemInfo;

/** Prints recommendations for a user, best first. Arguments: HOST:PORT USER_ID. */
public final class Recommend {
  public static void main(String[] args) {
    if (args.length != 2) {
      throw new IllegalArgumentException("usage: Recommend HOST:PORT USER_ID");
    }
    ManagedChannel channel = Grpc.newChannelBuilder(args[0], InsecureChannelCredentials.create()).build();
    try {
      ASRequest request = ASRequest.newBuilder().setUserId(args[1]).setSize(10).build();
      ASResponse response =
          ASServiceGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS).asCall(request);
      if (response.getError().getCode() != 200) {
        throw new IllegalStateException(response.getError().getText());
      }
      for (ItemInfo item : response.getItemInfosList()) {
        System.out.printf(Locale.ROOT, "%s %.3f%n", item.getSkuId(), item.getRankScore());
      }
    } finally {
      channel.shutdown();
    }
  }
}
