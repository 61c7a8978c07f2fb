package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"corelane/tests/clients/lines"
)

var balancers = map[string]kgo.GroupBalancer{
	"range":              kgo.RangeBalancer(),
	"roundrobin":         kgo.RoundRobinBalancer(),
	"sticky":             kgo.StickyBalancer(),
	"cooperative-sticky": kgo.CooperativeStickyBalancer(),
}

var resets = map[string]kgo.Offset{
	"earliest": kgo.NewOffset().AtStart(),
	"latest":   kgo.NewOffset().AtEnd(),
}

func member(ctx context.Context, asked lines.Request, told *lines.Member) error {
	session := time.Duration(asked.SessionMs) * time.Millisecond
	owned := map[int32]bool{}
	tell := func() {
		partitions := []int32{}
		for partition := range owned {
			partitions = append(partitions, partition)
		}
		told.Assigned(partitions)
	}
	lost := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
		for _, partition := range lost[asked.Topic] {
			delete(owned, partition)
		}
		tell()
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(asked.Broker),
		kgo.ConsumerGroup(asked.Group),
		kgo.ConsumeResetOffset(resets[asked.Reset]),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.MetadataMaxAge(time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
			for _, partition := range assigned[asked.Topic] {
				owned[partition] = true
			}
			tell()
		}),
		kgo.OnPartitionsRevoked(lost),
		kgo.OnPartitionsLost(lost),
	}
	if asked.Protocol == "consumer" {
		// Of its own balancers those that stand for the broker's.
		balancer := map[string]kgo.GroupBalancer{"uniform": kgo.StickyBalancer(), "range": kgo.RangeBalancer()}[asked.Assignor]
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(balancer))
	} else {
		options = append(options,
			kgo.Balancers(balancers[asked.Assignor]),
			kgo.SessionTimeout(session),
			kgo.HeartbeatInterval(session/6),
		)
	}
	if asked.Pattern != "" {
		options = append(options, kgo.ConsumeRegex(), kgo.ConsumeTopics(asked.Pattern))
	} else {
		options = append(options, kgo.ConsumeTopics(asked.Topic))
	}
	if asked.Instance != "" {
		options = append(options, kgo.InstanceID(asked.Instance))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		if err := pollOnce(ctx, client, asked, told); err != nil {
			return err
		}
		client.AllowRebalance()
	}
	return nil
}

func pollOnce(ctx context.Context, client *kgo.Client, asked lines.Request, told *lines.Member) error {
	fetches := client.PollRecords(ctx, 500)
	if ctx.Err() != nil {
		return nil
	}
	for _, failure := range fetches.Errors() {
		// The client goes on by itself; a broker that is down for a while is one of these.
		told.Trouble(failure.Err)
	}
	read := []lines.Record{}
	for _, got := range fetches.Records() {
		read = append(read, lines.Record{Partition: got.Partition, Offset: got.Offset, Value: got.Value})
	}
	offsets := told.Records(read)
	if offsets == nil {
		return nil
	}
	next := map[int32]kgo.EpochOffset{}
	for _, each := range offsets {
		next[int32(each[0])] = kgo.EpochOffset{Epoch: -1, Offset: each[1]}
	}
	told.Committed(offsets, commit(client, map[string]map[int32]kgo.EpochOffset{asked.Topic: next}))
	return nil
}

func commit(client *kgo.Client, offsets map[string]map[int32]kgo.EpochOffset) error {
	var refused error
	client.CommitOffsetsSync(context.Background(), offsets, onCommit(&refused))
	return refused
}

// onCommit finds the first refusal in an answer.
func onCommit(refused *error) func(*kgo.Client, *kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse, error) {
	return func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answered *kmsg.OffsetCommitResponse, err error) {
		*refused = err
		if err != nil {
			return
		}
		for _, topic := range answered.Topics {
			for _, partition := range topic.Partitions {
				if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
					*refused = err
				}
			}
		}
	}
}
