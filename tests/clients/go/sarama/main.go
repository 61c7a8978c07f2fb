// Drives sarama for the tests. Every operation opens its own client, so that each starts with nothing known about the
// cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"corelane/tests/clients/lines"
)

func main() {
	lines.Driver{Perform: perform, Member: member, ErrorCode: errorCode}.Serve()
}

func errorCode(err error) int {
	var code sarama.KError
	if errors.As(err, &code) {
		return int(code)
	}
	return 0
}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	return config
}

func perform(_ context.Context, asked lines.Request) (lines.Answer, error) {
	switch asked.Operation {
	case "produce":
		return produce(asked)
	case "consume":
		return consume(asked)
	case "transact":
		return lines.Answer{}, transact(asked)
	}
	admin, err := sarama.NewClusterAdmin([]string{asked.Broker}, settings())
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	switch asked.Operation {
	case "list_offset":
		return listOffset(admin, asked)
	case "create_topic":
		detail := &sarama.TopicDetail{
			NumPartitions: asked.Partitions, ReplicationFactor: asked.Replication, ConfigEntries: asked.Configs,
		}
		return lines.Answer{}, admin.CreateTopic(asked.Topic, detail, false)
	case "delete_topic":
		return lines.Answer{}, admin.DeleteTopic(asked.Topic)
	case "create_partitions":
		return lines.Answer{}, admin.CreatePartitions(asked.Topic, asked.Partitions, nil, false)
	case "describe_topic":
		return describeTopic(admin, asked.Topic)
	case "list_topics":
		topics, err := admin.ListTopics()
		names := []string{}
		for name := range topics {
			names = append(names, name)
		}
		return lines.Answer{"topics": names}, err
	case "describe_configs":
		return describeConfigs(admin, asked.Topic)
	}
	return nil, fmt.Errorf("no operation %q", asked.Operation)
}

var codecs = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

func produce(asked lines.Request) (lines.Answer, error) {
	config := settings()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Compression = codecs[asked.Codec]
	config.Producer.RequiredAcks = sarama.RequiredAcks(asked.Acks)
	config.Producer.Return.Successes = true
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	if asked.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewSyncProducer([]string{asked.Broker}, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := messagesOf(asked.Topic, asked.Records)
	if err := producer.SendMessages(messages); err != nil {
		return nil, err
	}
	placed := [][2]int64{}
	for _, message := range messages {
		placed = append(placed, [2]int64{int64(message.Partition), message.Offset})
	}
	return lines.Answer{"placed": placed}, nil
}

func messagesOf(topic string, records []lines.Record) []*sarama.ProducerMessage {
	messages := []*sarama.ProducerMessage{}
	for _, given := range records {
		message := &sarama.ProducerMessage{
			Topic:     topic,
			Partition: given.Partition,
			Timestamp: time.UnixMilli(given.Timestamp),
		}
		// An interface that holds a nil slice is not nil, and would be an empty key.
		if given.Key != nil {
			message.Key = sarama.ByteEncoder(given.Key)
		}
		if given.Value != nil {
			message.Value = sarama.ByteEncoder(given.Value)
		}
		for _, header := range given.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
		}
		messages = append(messages, message)
	}
	return messages
}

// transact closes the producer without ending a transaction that is left open. Offsets sarama keeps until it commits:
// of a transaction that is aborted or left open the broker never hears them.
func transact(asked lines.Request) error {
	config := settings()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Transaction.ID = asked.TransactionalID
	config.Producer.Transaction.Timeout = time.Duration(asked.TimeoutMs) * time.Millisecond
	producer, err := sarama.NewSyncProducer([]string{asked.Broker}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	for _, round := range asked.Rounds {
		if err := producer.BeginTxn(); err != nil {
			return err
		}
		if err := producer.SendMessages(messagesOf(asked.Topic, round.Records)); err != nil {
			return err
		}
		if each := round.Offsets; each != nil {
			offsets := map[string][]*sarama.PartitionOffsetMetadata{
				each.Topic: {{Partition: each.Partition, Offset: each.Offset}},
			}
			if err := producer.AddOffsetsToTxn(offsets, each.Group); err != nil {
				return err
			}
		}
		if round.Commit == nil {
			return nil
		}
		end := producer.AbortTxn
		if *round.Commit {
			end = producer.CommitTxn
		}
		if err := end(); err != nil {
			return err
		}
	}
	return nil
}

// consume reads from the start offset to what is the end when it begins.
func consume(asked lines.Request) (lines.Answer, error) {
	config := settings()
	config.Consumer.Return.Errors = true
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.IsolationLevel = isolation(asked)
	client, err := sarama.NewClient([]string{asked.Broker}, config)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return nil, err
	}
	asked.Spec = "latest"
	listed, err := listOffset(admin, asked)
	if err != nil {
		return nil, err
	}
	end := listed["offset"].(int64)
	records := []lines.Record{}
	if asked.Start == end {
		return lines.Answer{"records": records}, nil
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(asked.Topic, asked.Partition, asked.Start)
	if err != nil {
		return nil, err
	}
	defer partition.AsyncClose()
	timeout := time.After(lines.OperationTimeout)
	for next := asked.Start; next < end; {
		select {
		case got := <-partition.Messages():
			next = got.Offset + 1
			headers := []lines.Header{}
			for _, each := range got.Headers {
				headers = append(headers, lines.Header{Key: string(each.Key), Value: each.Value})
			}
			records = append(records, lines.Record{
				Partition: got.Partition,
				Offset:    got.Offset,
				Timestamp: got.Timestamp.UnixMilli(),
				Key:       got.Key,
				Value:     got.Value,
				Headers:   headers,
			})
		case failed := <-partition.Errors():
			return nil, failed.Err
		case <-timeout:
			return nil, fmt.Errorf("at %d of %d", next, end)
		}
	}
	return lines.Answer{"records": records}, nil
}

func isolation(asked lines.Request) sarama.IsolationLevel {
	if asked.ReadCommitted {
		return sarama.ReadCommitted
	}
	return sarama.ReadUncommitted
}

func listOffset(admin sarama.ClusterAdmin, asked lines.Request) (lines.Answer, error) {
	named := map[string]int64{
		"earliest": sarama.OffsetOldest, "latest": sarama.OffsetNewest, "max_timestamp": -3, "timestamp": asked.Timestamp,
	}
	where := map[string]map[int32]int64{asked.Topic: {asked.Partition: named[asked.Spec]}}
	listed, err := admin.ListOffsets(where, &sarama.ListOffsetsOptions{IsolationLevel: isolation(asked)})
	if err != nil {
		return nil, err
	}
	found := listed[asked.Topic][asked.Partition]
	if !errors.Is(found.Err, sarama.ErrNoError) {
		return nil, found.Err
	}
	return lines.Answer{"offset": found.Offset, "timestamp": found.Timestamp}, nil
}

func describeTopic(admin sarama.ClusterAdmin, topic string) (lines.Answer, error) {
	described, err := admin.DescribeTopics([]string{topic})
	if err != nil {
		return nil, err
	}
	found := described[0]
	if found.Err != sarama.ErrNoError {
		return nil, found.Err
	}
	return lines.Answer{"topic_id": found.Uuid.String(), "partitions": len(found.Partitions)}, nil
}

func describeConfigs(admin sarama.ClusterAdmin, topic string) (lines.Answer, error) {
	entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, entry := range entries {
		configs[entry.Name] = entry.Value
	}
	return lines.Answer{"configs": configs}, nil
}
