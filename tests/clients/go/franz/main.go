// Drives franz-go for the tests. Every operation opens its own client, so that each starts with nothing known about
// the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"corelane/tests/clients/lines"
)

func main() {
	lines.Driver{Perform: perform, Member: member, ErrorCode: errorCode}.Serve()
}

func errorCode(err error) int {
	var kafkaError *kerr.Error
	if errors.As(err, &kafkaError) {
		return int(kafkaError.Code)
	}
	return 0
}

func perform(ctx context.Context, asked lines.Request) (lines.Answer, error) {
	switch asked.Operation {
	case "produce":
		return produce(ctx, asked)
	case "consume":
		return consume(ctx, asked)
	case "transact":
		return lines.Answer{}, transact(ctx, asked)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(asked.Broker))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	switch asked.Operation {
	case "list_offset":
		return listOffset(ctx, admin, asked)
	case "create_topic":
		created, err := admin.CreateTopic(ctx, asked.Partitions, asked.Replication, asked.Configs, asked.Topic)
		if err != nil {
			return nil, err
		}
		return lines.Answer{"topic_id": created.ID.String()}, created.Err
	case "delete_topic":
		_, err := admin.DeleteTopic(ctx, asked.Topic)
		return lines.Answer{}, err
	case "create_partitions":
		grown, err := admin.UpdatePartitions(ctx, int(asked.Partitions), asked.Topic)
		if err != nil {
			return nil, err
		}
		return lines.Answer{}, grown[asked.Topic].Err
	case "describe_topic":
		return describeTopic(ctx, client, asked.Topic)
	case "list_topics":
		topics, err := admin.ListTopics(ctx)
		if err != nil {
			return nil, err
		}
		return lines.Answer{"topics": topics.Names()}, nil
	case "describe_configs":
		return describeConfigs(ctx, admin, asked.Topic)
	}
	return nil, fmt.Errorf("no operation %q", asked.Operation)
}

func produce(ctx context.Context, asked lines.Request) (lines.Answer, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(asked.Broker),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[asked.Codec]),
		kgo.RequiredAcks(acks[asked.Acks]),
		kgo.ProducerLinger(5 * time.Millisecond),
	}
	if !asked.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()

	placed := make([][2]int64, len(asked.Records))
	failures := make(chan error, len(asked.Records))
	for index, given := range asked.Records {
		client.Produce(ctx, record(asked.Topic, given), func(acknowledged *kgo.Record, err error) {
			placed[index] = [2]int64{int64(acknowledged.Partition), acknowledged.Offset}
			failures <- err
		})
	}
	for range asked.Records {
		if err := <-failures; err != nil {
			return nil, err
		}
	}
	return lines.Answer{"placed": placed}, nil
}

func record(topic string, given lines.Record) *kgo.Record {
	record := &kgo.Record{
		Topic:     topic,
		Partition: given.Partition,
		Timestamp: time.UnixMilli(given.Timestamp),
		Key:       given.Key,
		Value:     given.Value,
	}
	for _, header := range given.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
	}
	return record
}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var acks = map[int]kgo.Acks{-1: kgo.AllISRAcks(), 0: kgo.NoAck(), 1: kgo.LeaderAck()}

// consume reads from the start offset to what is the end when it begins.
func consume(ctx context.Context, asked lines.Request) (lines.Answer, error) {
	isolation := kgo.ReadUncommitted()
	if asked.ReadCommitted {
		isolation = kgo.ReadCommitted()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(asked.Broker),
		kgo.FetchIsolationLevel(isolation),
		// Where the end is a marker, only the marker tells that it is reached.
		kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			asked.Topic: {asked.Partition: kgo.NewOffset().At(asked.Start)},
		}),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	asked.Spec = "latest"
	listed, err := listOffset(ctx, kadm.NewClient(client), asked)
	if err != nil {
		return nil, err
	}
	end := listed["offset"].(int64)

	records := []lines.Record{}
	for next := asked.Start; next < end; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, err
		}
		for _, failure := range fetches.Errors() {
			return nil, failure.Err
		}
		for _, got := range fetches.Records() {
			next = got.Offset + 1
			if got.Attrs.IsControl() {
				continue
			}
			headers := []lines.Header{}
			for _, each := range got.Headers {
				headers = append(headers, lines.Header{Key: each.Key, Value: each.Value})
			}
			records = append(records, lines.Record{
				Partition: got.Partition,
				Offset:    got.Offset,
				Timestamp: got.Timestamp.UnixMilli(),
				Key:       got.Key,
				Value:     got.Value,
				Headers:   headers,
			})
		}
	}
	return lines.Answer{"records": records}, nil
}

func listOffset(ctx context.Context, admin *kadm.Client, asked lines.Request) (lines.Answer, error) {
	var listed kadm.ListedOffsets
	var err error
	switch asked.Spec {
	case "earliest":
		listed, err = admin.ListStartOffsets(ctx, asked.Topic)
	case "latest":
		if asked.ReadCommitted {
			listed, err = admin.ListCommittedOffsets(ctx, asked.Topic)
		} else {
			listed, err = admin.ListEndOffsets(ctx, asked.Topic)
		}
	case "max_timestamp":
		listed, err = admin.ListMaxTimestampOffsets(ctx, asked.Topic)
	case "timestamp":
		// kadm turns "no such record" into the end offset, so this asks by hand.
		return listOffsetByTimestamp(ctx, admin, asked)
	}
	if err != nil {
		return nil, err
	}
	found, _ := listed.Lookup(asked.Topic, asked.Partition)
	return lines.Answer{"offset": found.Offset, "timestamp": found.Timestamp}, found.Err
}

func listOffsetByTimestamp(ctx context.Context, admin *kadm.Client, asked lines.Request) (lines.Answer, error) {
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Partition = asked.Partition
	partition.Timestamp = asked.Timestamp
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = asked.Topic
	topic.Partitions = append(topic.Partitions, partition)
	list := kmsg.NewPtrListOffsetsRequest()
	list.ReplicaID = -1
	list.Topics = append(list.Topics, topic)

	client, err := kgo.NewClient(kgo.SeedBrokers(asked.Broker))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	listed, err := list.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	found := listed.Topics[0].Partitions[0]
	return lines.Answer{"offset": found.Offset, "timestamp": found.Timestamp}, kerr.ErrorForCode(found.ErrorCode)
}

func describeTopic(ctx context.Context, client *kgo.Client, name string) (lines.Answer, error) {
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Topics = append(metadata.Topics, topic)
	described, err := metadata.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	found := described.Topics[0]
	if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
		return nil, err
	}
	return lines.Answer{"topic_id": kadm.TopicID(found.TopicID).String(), "partitions": len(found.Partitions)}, nil
}

func describeConfigs(ctx context.Context, admin *kadm.Client, topic string) (lines.Answer, error) {
	described, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	found, err := described.On(topic, nil)
	if err != nil {
		return nil, err
	}
	configs := map[string]*string{}
	for _, config := range found.Configs {
		configs[config.Key] = config.Value
	}
	return lines.Answer{"configs": configs}, found.Err
}
