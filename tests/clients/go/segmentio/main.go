// Drives segmentio/kafka-go for the tests. Every operation opens its own client, so that each starts with nothing known
// about the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"corelane/tests/clients/lines"
)

func main() {
	lines.Driver{Perform: perform, Member: member, ErrorCode: errorCode}.Serve()
}

func errorCode(err error) int {
	var code kafka.Error
	if errors.As(err, &code) {
		return int(code)
	}
	var perMessage kafka.WriteErrors
	if errors.As(err, &perMessage) {
		for _, each := range perMessage {
			if each != nil {
				return errorCode(each)
			}
		}
	}
	return 0
}

func perform(ctx context.Context, asked lines.Request) (lines.Answer, error) {
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(asked.Broker), Transport: transport}
	switch asked.Operation {
	case "produce":
		return produce(ctx, transport, asked)
	case "consume":
		return consume(ctx, client, asked)
	case "list_offset":
		return listOffset(ctx, client, asked)
	case "create_topic":
		return createTopic(ctx, client, asked)
	case "delete_topic":
		deleted, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{asked.Topic}})
		if err != nil {
			return nil, err
		}
		return lines.Answer{}, deleted.Errors[asked.Topic]
	case "create_partitions":
		topics := []kafka.TopicPartitionsConfig{{Name: asked.Topic, Count: asked.Partitions}}
		grown, err := client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: topics})
		if err != nil {
			return nil, err
		}
		return lines.Answer{}, grown.Errors[asked.Topic]
	case "describe_topic":
		described, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{asked.Topic}})
		if err != nil {
			return nil, err
		}
		found := described.Topics[0]
		return lines.Answer{"topic_id": nil, "partitions": len(found.Partitions)}, found.Error
	case "list_topics":
		listed, err := client.Metadata(ctx, &kafka.MetadataRequest{})
		if err != nil {
			return nil, err
		}
		names := []string{}
		for _, topic := range listed.Topics {
			names = append(names, topic.Name)
		}
		return lines.Answer{"topics": names}, nil
	case "describe_configs":
		return describeConfigs(ctx, client, asked.Topic)
	}
	return nil, fmt.Errorf("no operation %q", asked.Operation)
}

var codecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

func produce(ctx context.Context, transport *kafka.Transport, asked lines.Request) (lines.Answer, error) {
	placed := make([][2]int64, len(asked.Records))
	writer := &kafka.Writer{
		Addr:  kafka.TCP(asked.Broker),
		Topic: asked.Topic,
		Balancer: kafka.BalancerFunc(func(message kafka.Message, _ ...int) int {
			return int(asked.Records[message.WriterData.(int)].Partition)
		}),
		RequiredAcks: kafka.RequiredAcks(asked.Acks),
		Compression:  codecs[asked.Codec],
		BatchTimeout: 5 * time.Millisecond,
		Transport:    transport,
		Completion: func(messages []kafka.Message, _ error) {
			for _, message := range messages {
				placed[message.WriterData.(int)] = [2]int64{int64(message.Partition), message.Offset}
			}
		},
	}
	messages := []kafka.Message{}
	for index, given := range asked.Records {
		message := kafka.Message{
			Key: given.Key, Value: given.Value, Time: time.UnixMilli(given.Timestamp), WriterData: index,
		}
		for _, header := range given.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: header.Key, Value: header.Value})
		}
		messages = append(messages, message)
	}
	err := writer.WriteMessages(ctx, messages...)
	if closed := writer.Close(); err == nil {
		err = closed
	}
	return lines.Answer{"placed": placed}, err
}

// consume reads from the start offset to what is the end when it begins.
func consume(ctx context.Context, client *kafka.Client, asked lines.Request) (lines.Answer, error) {
	asked.Spec = "latest"
	listed, err := listOffset(ctx, client, asked)
	if err != nil {
		return nil, err
	}
	end := listed["offset"].(int64)
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers:        []string{asked.Broker},
		Topic:          asked.Topic,
		Partition:      int(asked.Partition),
		MaxBytes:       10 << 20,
		MaxWait:        100 * time.Millisecond,
		IsolationLevel: isolation(asked),
	})
	defer reader.Close()
	if err := reader.SetOffset(asked.Start); err != nil {
		return nil, err
	}
	records := []lines.Record{}
	for next := asked.Start; next < end; {
		got, err := reader.ReadMessage(ctx)
		if err != nil {
			return nil, fmt.Errorf("at %d of %d: %w", next, end, err)
		}
		next = got.Offset + 1
		headers := []lines.Header{}
		for _, each := range got.Headers {
			headers = append(headers, lines.Header{Key: each.Key, Value: each.Value})
		}
		records = append(records, lines.Record{
			Partition: int32(got.Partition),
			Offset:    got.Offset,
			Timestamp: got.Time.UnixMilli(),
			Key:       got.Key,
			Value:     got.Value,
			Headers:   headers,
		})
	}
	return lines.Answer{"records": records}, nil
}

func isolation(asked lines.Request) kafka.IsolationLevel {
	if asked.ReadCommitted {
		return kafka.ReadCommitted
	}
	return kafka.ReadUncommitted
}

func listOffset(ctx context.Context, client *kafka.Client, asked lines.Request) (lines.Answer, error) {
	named := map[string]int64{"earliest": kafka.FirstOffset, "latest": kafka.LastOffset, "timestamp": asked.Timestamp}
	wanted, known := named[asked.Spec]
	if !known {
		return nil, fmt.Errorf("kafka-go has no question for %q", asked.Spec)
	}
	listed, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{
			asked.Topic: {{Partition: int(asked.Partition), Timestamp: wanted}},
		},
		IsolationLevel: isolation(asked),
	})
	if err != nil {
		return nil, err
	}
	found := listed.Topics[asked.Topic][0]
	switch asked.Spec {
	case "earliest":
		return lines.Answer{"offset": found.FirstOffset, "timestamp": -1}, found.Error
	case "latest":
		return lines.Answer{"offset": found.LastOffset, "timestamp": -1}, found.Error
	}
	// The time beside it is the one that was asked for, not the record's.
	for offset := range found.Offsets {
		return lines.Answer{"offset": offset, "timestamp": -1}, found.Error
	}
	return lines.Answer{"offset": -1, "timestamp": -1}, found.Error
}

func createTopic(ctx context.Context, client *kafka.Client, asked lines.Request) (lines.Answer, error) {
	topic := kafka.TopicConfig{
		Topic:             asked.Topic,
		NumPartitions:     int(asked.Partitions),
		ReplicationFactor: int(asked.Replication),
	}
	for name, value := range asked.Configs {
		topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: *value})
	}
	created, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err != nil {
		return nil, err
	}
	return lines.Answer{}, created.Errors[asked.Topic]
}

func describeConfigs(ctx context.Context, client *kafka.Client, topic string) (lines.Answer, error) {
	resources := []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}}
	described, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: resources})
	if err != nil {
		return nil, err
	}
	found := described.Resources[0]
	configs := map[string]string{}
	for _, entry := range found.ConfigEntries {
		configs[entry.ConfigName] = entry.ConfigValue
	}
	return lines.Answer{"configs": configs}, found.Error
}
