package main

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"

	"corelane/tests/clients/lines"
)

var balancers = map[string]kafka.GroupBalancer{
	"range":      kafka.RangeGroupBalancer{},
	"roundrobin": kafka.RoundRobinGroupBalancer{},
}

var resets = map[string]int64{"earliest": kafka.FirstOffset, "latest": kafka.LastOffset}

// member uses ConsumerGroup, the layer that Reader with a GroupID stands on: it tells what was assigned.
func member(ctx context.Context, asked lines.Request, told *lines.Member) error {
	session := time.Duration(asked.SessionMs) * time.Millisecond
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                asked.Group,
		Brokers:           []string{asked.Broker},
		Topics:            []string{asked.Topic},
		GroupBalancers:    []kafka.GroupBalancer{balancers[asked.Assignor]},
		SessionTimeout:    session,
		HeartbeatInterval: session / 6,
		RebalanceTimeout:  10 * time.Second,
		JoinGroupBackoff:  200 * time.Millisecond,
		StartOffset:       resets[asked.Reset],
	})
	if err != nil {
		return err
	}
	defer group.Close()
	for {
		generation, err := group.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, kafka.GroupCoordinatorNotAvailable) {
			continue
		}
		if err != nil {
			return err
		}
		partitions := []int32{}
		for _, assigned := range generation.Assignments[asked.Topic] {
			partitions = append(partitions, int32(assigned.ID))
		}
		told.Assigned(partitions)
		for _, assigned := range generation.Assignments[asked.Topic] {
			generation.Start(func(ctx context.Context) {
				readPartition(ctx, generation, asked, assigned, told)
			})
		}
	}
}

// readPartition reads and commits until the generation ends.
func readPartition(
	ctx context.Context, generation *kafka.Generation, asked lines.Request, assigned kafka.PartitionAssignment,
	told *lines.Member,
) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers:   []string{asked.Broker},
		Topic:     asked.Topic,
		Partition: assigned.ID,
		MaxWait:   100 * time.Millisecond,
	})
	defer reader.Close()
	if err := reader.SetOffset(assigned.Offset); err != nil {
		panic(err)
	}
	for {
		got, err := reader.ReadMessage(ctx)
		if err != nil {
			// The generation has ended.
			return
		}
		read := []lines.Record{{Partition: int32(got.Partition), Offset: got.Offset, Value: got.Value}}
		offsets := told.Records(read)
		if offsets == nil {
			return
		}
		next := map[string]map[int]int64{asked.Topic: {assigned.ID: got.Offset + 1}}
		told.Committed(offsets, generation.CommitOffsets(next))
	}
}
