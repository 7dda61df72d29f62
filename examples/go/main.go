// Command recommend prints recommendations for a user, best first.
//
//	go generate && go run . 127.0.0.1:8930 8888
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"example/recmesh/pb"
)

//go:generate buf generate

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: recommend HOST:PORT USER_ID")
	}
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request := &recmeshpb.ASRequest{UserId: os.Args[2], Size: 10}
	response, err := recmeshpb.NewASServiceClient(connection).AsCall(ctx, request)
	if err != nil {
		log.Fatal(err)
	}
	if code := response.GetError().GetCode(); code != 200 {
		log.Fatalf("error %d: %s", code, response.GetError().GetText())
	}
	for _, item := range response.GetItemInfos() {
		fmt.Printf("%s %.3f\n", item.GetSkuId(), item.GetRankScore())
	}
}
